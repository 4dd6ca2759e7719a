//! The service's part of the region pack, loaded and compiled.

use std::path::Path;

use otklik_chassis::region::{Files, Problems};

use crate::domain::{
    classifier::Classifier,
    places::{self, Places},
    taxonomy::{self, Taxonomy},
};

/// The files that this service reads, as shipped.
const SHIPPED: [(&str, &str); 2] = [
    (taxonomy::FILE, include_str!("../../../deploy/regions/primorye/taxonomy.toml")),
    (places::FILE, include_str!("../../../deploy/regions/primorye/places.toml")),
];

/// A compiled pack.
#[derive(Debug)]
pub struct Pack {
    /// Classifies by it.
    pub classifier: Classifier,
    /// Its content hash, recorded with every decision.
    pub version: String,
}

/// Loads `taxonomy.toml` and `places.toml` from `dir`, or the shipped ones.
///
/// # Errors
/// When a file can't be read or anything in it is wrong; the error lists all problems with file and line.
pub fn open(dir: Option<&Path>) -> anyhow::Result<Pack> {
    let files = Files::open(dir, &SHIPPED)?;
    let mut problems = Problems::new();
    let taxonomy = Taxonomy::parse(files.text(taxonomy::FILE), &mut problems);
    let places = Places::parse(files.text(places::FILE), &mut problems);
    problems.finish()?;
    let (Some(taxonomy), Some(places)) = (taxonomy, places) else { anyhow::bail!("the region pack can't be used") };
    Ok(Pack { classifier: Classifier::new(taxonomy, places), version: files.version().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_pack_is_sound() {
        let pack = open(None).unwrap();
        assert_eq!(pack.version.len(), 16);
        assert!(pack.classifier.taxonomy().topics.len() > 100);
        assert!(pack.classifier.places().all().len() > 100);
    }

    #[test]
    fn problems_of_all_files_are_told_together() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(taxonomy::FILE), "phrase_gap = \"two\"\n").unwrap();
        std::fs::write(dir.path().join(places::FILE), "\nplaces = []\n").unwrap();
        let told = format!("{:#}", open(Some(dir.path())).unwrap_err());
        assert!(told.contains("taxonomy.toml:1:") && told.contains("places.toml:2:"), "{told}");
    }
}
