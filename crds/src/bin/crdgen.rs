//! Writes the CustomResourceDefinitions into a directory, and the reference of each.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(env::args_os().nth(1).ok_or("usage: crdgen DIRECTORY")?);
    for (file, definition) in weir_crds::definitions() {
        fs::write(directory.join(file), weir_crds::render(&definition)?)?;
        let page = format!("{}.md", definition.spec.names.singular.as_deref().unwrap_or(file));
        fs::write(directory.join(page), weir_crds::reference(&definition))?;
    }
    Ok(())
}
