//! A pod that is created while no webhook answers starts without the sidecar, and the pipeline says which
//! pod that is and what to do.

use anyhow::{Result, ensure};
use serde_json::json;
use weir_tests::with_namespace;

use crate::installation::Weir;
use crate::objects::{UP, apply, await_condition, ready_pods, restrict, show};

const PIPELINE: &str = include_str!("../../fixtures/end_to_end/pipeline.yaml");
const POD: &str = include_str!("../../fixtures/end_to_end/pod.yaml");

const PIPELINE_OBJECT: (&str, &str) = ("streampipeline", "shop");

pub(crate) async fn story(weir: &Weir) -> Result<()> {
    with_namespace("slipped", async |shop| {
        restrict(&shop).await?;
        let kubectl = &shop.kubectl;
        apply(kubectl, PIPELINE).await?;
        let wanted = ("Injected", "Unknown", "NoPodSelected");
        await_condition(kubectl, PIPELINE_OBJECT, wanted, UP).await?;
        apply(kubectl, POD).await?;
        ready_pods(kubectl, "app=shop", 1).await?;

        weir.take_away().await?;
        apply(kubectl, &POD.replace("name: single", "name: late")).await?;
        let pods = ready_pods(kubectl, "app=shop", 2).await?;
        ensure!(pods[0]["spec"].get("initContainers").is_none(), "the webhook is still there");
        weir.bring_back().await?;

        let wanted = ("Injected", "False", "PodsWithoutSidecar");
        let message = await_condition(kubectl, PIPELINE_OBJECT, wanted, UP).await?;
        ensure!(message.starts_with("1 of 2 ") && message.contains("late"), "{message}");
        ensure!(message.contains("delete"), "no remedy: {message}");
        let pipeline = kubectl.get("streampipeline", "shop").await?;
        let injection = json!({ "selected": 2, "injected": 1, "missing": ["late"] });
        ensure!(pipeline["status"]["injection"] == injection, "{}", pipeline["status"]);
        show(kubectl, &["get", "streampipeline", "--output=wide"]).await?;
        println!("Injected: {message}");

        kubectl.succeed(&["delete", "pod", "late"]).await?;
        apply(kubectl, &POD.replace("name: single", "name: late")).await?;
        let wanted = ("Injected", "True", "AllInjected");
        await_condition(kubectl, PIPELINE_OBJECT, wanted, UP).await.map(drop)
    })
    .await
}
