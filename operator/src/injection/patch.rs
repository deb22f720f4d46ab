//! Collects the operations of a patch, and keeps a copy of the pod on which they are applied already, so
//! that each part sees what the parts before it added.

use json_patch::jsonptr::{Pointer, PointerBuf};
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Value, json};

/// Why a patch could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// A value of the pod is not of the type that Kubernetes gives it.
    #[error("{0} of the pod is not of the type that a pod has there")]
    Shape(PointerBuf),
    /// An operation does not fit the pod.
    #[error("the patch does not fit the pod")]
    Unfit(#[from] json_patch::PatchError),
}

/// A pod and the operations on it so far.
pub(super) struct PodPatch {
    pod: Value,
    operations: Vec<PatchOperation>,
}

/// The address of a value: names are escaped as RFC 6901 asks.
pub(super) fn at<'a>(tokens: impl IntoIterator<Item = &'a str>) -> PointerBuf {
    PointerBuf::from_tokens(tokens)
}

impl PodPatch {
    pub(super) fn new(pod: &Value) -> Self {
        Self { pod: pod.clone(), operations: Vec::new() }
    }

    /// The operations; `None` where there are none.
    pub(super) fn into_patch(self) -> Option<Patch> {
        (!self.operations.is_empty()).then_some(Patch(self.operations))
    }

    /// The value at an address; `None` where there is none, or null.
    pub(super) fn get(&self, address: &Pointer) -> Option<&Value> {
        self.pod.pointer(address.as_str()).filter(|value| !value.is_null())
    }

    /// Adds a value to an object, or inserts it into a list before the index that the address ends in.
    pub(super) fn add(&mut self, address: PointerBuf, value: Value) -> Result<(), PatchError> {
        let operation = PatchOperation::Add(AddOperation { path: address, value });
        json_patch::patch(&mut self.pod, std::slice::from_ref(&operation))?;
        self.operations.push(operation);
        Ok(())
    }

    /// Sets a text in an object of texts, which is made where it is missing.
    pub(super) fn set_text(
        &mut self,
        object: &Pointer,
        key: &str,
        text: &str,
    ) -> Result<(), PatchError> {
        match self.get(object) {
            None => self.add(object.to_buf(), json!({}))?,
            Some(Value::Object(_)) => {}
            Some(_) => return Err(PatchError::Shape(object.to_buf())),
        }
        let mut address = object.to_buf();
        address.push_back(key);
        if self.get(&address).and_then(Value::as_str) == Some(text) {
            return Ok(());
        }
        self.add(address, text.into())
    }

    /// The items of a list; none where it is missing.
    pub(super) fn items(&self, list: &Pointer) -> Result<&[Value], PatchError> {
        match self.get(list) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(PatchError::Shape(list.to_buf())),
        }
    }

    /// Whether a list has an item with this text under `key`.
    pub(super) fn has(&self, list: &Pointer, key: &str, text: &str) -> Result<bool, PatchError> {
        let holds = |item: &Value| item.get(key).and_then(Value::as_str) == Some(text);
        Ok(self.items(list)?.iter().any(holds))
    }

    /// Inserts an item at the front of a list, which is made where it is missing.
    pub(super) fn prepend(&mut self, list: &Pointer, item: Value) -> Result<(), PatchError> {
        self.insert(list, "0", item)
    }

    /// Appends an item to a list, which is made where it is missing.
    pub(super) fn append(&mut self, list: &Pointer, item: Value) -> Result<(), PatchError> {
        self.insert(list, "-", item)
    }

    fn insert(&mut self, list: &Pointer, place: &str, item: Value) -> Result<(), PatchError> {
        if self.get(list).is_none() {
            return self.add(list.to_buf(), json!([item]));
        }
        // The list is one, or its items could not have been looked at.
        self.items(list)?;
        let mut address = list.to_buf();
        address.push_back(place);
        self.add(address, item)
    }
}
