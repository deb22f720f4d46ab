//! The JSON schemas of our kinds, made from their types, in a form that is easy to walk.

use std::sync::LazyLock;

use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};
use weir_crds::v1alpha1::{StreamPipelineSpec, StreamSLOSpec};

pub(super) static STREAM_PIPELINE: LazyLock<Schema> =
    LazyLock::new(Schema::of::<StreamPipelineSpec>);
pub(super) static STREAM_SLO: LazyLock<Schema> = LazyLock::new(Schema::of::<StreamSLOSpec>);

/// The schema of a manifest, and what its references lead to.
#[derive(Debug)]
pub(super) struct Schema {
    root: Value,
    definitions: Value,
}

/// One node of a schema, with its reference followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a> {
    schema: &'a Schema,
    node: &'a Value,
}

impl Schema {
    fn of<S: JsonSchema>() -> Self {
        let mut spec = schema_for!(S).to_value();
        let definitions = spec.get_mut("$defs").map(Value::take).unwrap_or_default();
        let root = json!({
            "type": "object",
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": metadata(),
                "spec": spec,
                "status": {},
            },
            "required": ["metadata", "spec"],
        });
        Self { root, definitions }
    }

    pub(super) fn root(&self) -> Node<'_> {
        Node { schema: self, node: &self.root }
    }
}

/// Of the metadata only what is read here has a type; the rest is known by name, because what
/// `kubectl get -o yaml` prints must be accepted.
fn metadata() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "namespace": {"type": "string"},
            "uid": {"type": "string"},
            "generation": {"type": "integer"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
            "creationTimestamp": {},
            "deletionGracePeriodSeconds": {},
            "deletionTimestamp": {},
            "finalizers": {},
            "generateName": {},
            "managedFields": {},
            "ownerReferences": {},
            "resourceVersion": {},
            "selfLink": {},
        },
        "required": ["name"],
    })
}

impl<'a> Node<'a> {
    /// The node of a field; `None` where the schema doesn't name it.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        let named = self.member("properties").and_then(|fields| fields.get(name));
        named.or_else(|| self.member("additionalProperties")).map(|node| self.follow(node))
    }

    /// Whether the fields have names: otherwise the node is a map with any keys, or is left open.
    pub(super) fn is_closed(self) -> bool {
        self.type_() == Some("object") && self.member("additionalProperties").is_none()
    }

    /// The names of the fields.
    pub(super) fn fields(self) -> impl Iterator<Item = &'a str> {
        let fields = self.member("properties").and_then(Value::as_object);
        fields.into_iter().flat_map(|fields| fields.keys().map(String::as_str))
    }

    /// The names of the fields that must be there.
    pub(super) fn required(self) -> impl Iterator<Item = &'a str> {
        self.list("required").filter_map(Value::as_str)
    }

    /// The node of a list's items.
    pub(super) fn items(self) -> Option<Self> {
        self.member("items").map(|node| self.follow(node))
    }

    /// The name of the type; `None` where anything is accepted.
    pub(super) fn type_(self) -> Option<&'a str> {
        match self.member("type") {
            Some(Value::Array(types)) => {
                types.iter().filter_map(Value::as_str).find(|&name| name != "null")
            }
            Some(one) => one.as_str(),
            None if self.choices().next().is_some() => Some("string"),
            None => None,
        }
    }

    /// The texts that are accepted; none where any is.
    pub(super) fn choices(self) -> impl Iterator<Item = &'a str> {
        let documented = self.list("oneOf").filter_map(|choice| choice.get("const"));
        self.list("enum").chain(documented).filter_map(Value::as_str)
    }

    /// The regular expression of a text.
    pub(super) fn pattern(self) -> Option<&'a str> {
        self.member("pattern").and_then(Value::as_str)
    }

    fn member(self, name: &str) -> Option<&'a Value> {
        self.node.get(name)
    }

    fn list(self, name: &str) -> impl Iterator<Item = &'a Value> {
        self.member(name).and_then(Value::as_array).into_iter().flatten()
    }

    /// The node behind a reference, and behind the choice between something and null that an optional
    /// field is.
    fn follow(self, node: &'a Value) -> Self {
        let referred = node.get("$ref").and_then(Value::as_str);
        if let Some(name) = referred.and_then(|path| path.strip_prefix("#/$defs/")) {
            let target = self.schema.definitions.get(name).unwrap_or(&Value::Null);
            return self.follow(target);
        }
        let is_null = |choice: &&Value| choice.get("type").is_some_and(|name| name == "null");
        let choices = node.get("anyOf").and_then(Value::as_array);
        match choices.and_then(|choices| choices.iter().find(|choice| !is_null(choice))) {
            Some(choice) => self.follow(choice),
            None => Node { schema: self.schema, node },
        }
    }
}
