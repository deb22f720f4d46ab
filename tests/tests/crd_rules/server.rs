//! Asks the API server about every object of the table, without storing any.

use anyhow::{Result, ensure};
use futures::{StreamExt as _, stream};
use kube::Error;
use kube::api::{DynamicObject, PostParams};
use serde_json::Value;
use weir_tests::{Namespace, definitions, with_namespace};

use crate::table::{Case, Verdict};
use crate::{cases, files};

/// Enough to keep the server busy.
const AT_ONCE: usize = 8;

/// What the server adds where a fault keeps it from evaluating rules.
const NOTE: &str = ", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test"]
async fn the_api_server_judges_as_the_table_says() -> Result<()> {
    with_namespace("rules", async |namespace| {
        definitions::install(&namespace.cluster).await?;
        let asked = stream::iter(cases()).map(|case| ask(&namespace, case)).buffered(AT_ONCE);
        let wrong: Vec<_> = asked.collect::<Vec<_>>().await.into_iter().flatten().collect();
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
    .await
}

/// What the server does otherwise than the table says.
async fn ask(namespace: &Namespace, case: Case) -> Option<String> {
    let (found, expected) = match (create(namespace, &case).await, &case.verdict) {
        // What the server stores has the same defaults as what is read from a file.
        (Ok(mut stored), Verdict::Accepted) => {
            leave_out_nothings(&mut stored);
            (stored["spec"].to_string(), files::with_defaults(&case.object).to_string())
        }
        (Ok(_), Verdict::Refused { server, .. }) => ("taken".to_owned(), server.clone()),
        (Err(refusal), Verdict::Accepted) => (refusal, "taken".to_owned()),
        (Err(refusal), Verdict::Refused { server, .. }) => (refusal, server.clone()),
    };
    (found != expected).then(|| case.mismatch(&found, &expected))
}

async fn create(namespace: &Namespace, case: &Case) -> Result<Value, String> {
    let object: DynamicObject = serde_json::from_value(case.object.clone()).unwrap();
    let kind = case.object["kind"].as_str().unwrap();
    let api = namespace.custom(kind, &format!("{}s", kind.to_lowercase()));
    match api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await {
        Ok(stored) => Ok(stored.data),
        Err(Error::Api(status)) => Err(refusal(&status.message)),
        Err(other) => Err(other.to_string()),
    }
}

/// An empty list and an explicit null mean as much as no field, which is how our types write them.
fn leave_out_nothings(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| {
                !field.is_null() && field.as_array().is_none_or(|l| !l.is_empty())
            });
            fields.values_mut().for_each(leave_out_nothings);
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_nothings),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The part of the server's message that comes after the object's name, without brackets around it.
fn refusal(message: &str) -> String {
    let said = message.split_once("\" is invalid: ").map_or(message, |(_, said)| said);
    let list = said.strip_prefix('[').and_then(|said| said.strip_suffix(']')).unwrap_or(said);
    list.strip_suffix(NOTE).unwrap_or(list).to_owned()
}
