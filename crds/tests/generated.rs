//! Holds the YAML in `crds/` against the types that it is made from.

use std::{fs, path::Path};

#[test]
fn the_yaml_in_the_tree_is_what_the_types_say() {
    for (file, definition) in weir_crds::definitions() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let found = fs::read_to_string(&path).unwrap_or_default();
        let expected = weir_crds::render(&definition).unwrap();
        assert!(found == expected, "{file} is out of step: run `cargo xtask crds`");
    }
}

#[test]
fn a_definition_fits_into_the_annotation_of_client_side_apply() {
    for (file, definition) in weir_crds::definitions() {
        let size = serde_json::to_vec(&definition).unwrap().len();
        assert!(size < 256 * 1024, "{file} has {size} bytes");
    }
}
