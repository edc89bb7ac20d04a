//! The parameters of sampling among the settings.

use super::key::value;
use super::values::Settings;
use crate::sample::{Overrides, PARAMETERS};

impl Settings {
    /// The parameters of sampling that are set.
    pub fn sampling(&self) -> Overrides {
        let mut found = Overrides::default();
        for row in PARAMETERS {
            // Every text was checked on its way in.
            if let Some((text, _)) = self.get(row.name) {
                let _ = row.set(&mut found, &value(row, text));
            }
        }
        found
    }
}
