//! Reads how a model's vectors are pooled.

use super::keys::Keys;
use super::{Classifier, Pooled, Pooling};
use crate::Result;

impl Keys<'_> {
    /// The pooling that the file names.
    pub(super) fn pooling(&self) -> Result<Pooling> {
        let causal = self.bool("attention.causal")?.unwrap_or(true);
        Ok(match self.usize("pooling_type")? {
            None | Some(0) => Pooling::None,
            Some(1) => Pooling::One(Pooled::Mean),
            Some(2) => Pooling::One(Pooled::First),
            Some(3) => Pooling::One(Pooled::Last),
            Some(4) => {
                let from = if causal { Pooled::Last } else { Pooled::First };
                let mean = self.usize("classifier.pooling_type")? == Some(1);
                let labels = self.rows("cls.output.weight").or(self.rows("cls.weight")).unwrap_or(1);
                Pooling::Rank(Classifier {
                    from: if mean { Pooled::Mean } else { from },
                    labels,
                    single: self.rows("cls.output.weight").is_none() && self.rows("cls.weight").is_some(),
                    gelu: false,
                    // Of one label it would be 1, whatever the texts are.
                    softmax: causal && labels > 1,
                })
            }
            Some(_) => return Err(self.wrong("pooling_type", "0 (none), 1 (mean), 2 (first), 3 (last) or 4 (rank)")),
        })
    }

    /// Rows of a matrix that the file may have.
    fn rows(&self, name: &str) -> Option<usize> {
        self.gguf.tensor(name).map(|tensor| tensor.shape.get(1).copied().unwrap_or(1))
    }
}
