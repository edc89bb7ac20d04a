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
                Pooling::Rank(Classifier {
                    from: if mean { Pooled::Mean } else { from },
                    labels: self.labels(),
                    gelu: false,
                    softmax: causal,
                })
            }
            Some(_) => return Err(self.wrong("pooling_type", "0 (none), 1 (mean), 2 (first), 3 (last) or 4 (rank)")),
        })
    }

    /// Rows of the classification head.
    fn labels(&self) -> usize {
        let shape = self.gguf.tensor("cls.output.weight").map(|tensor| tensor.shape.as_slice());
        shape.and_then(|shape| shape.get(1)).copied().unwrap_or(1)
    }
}
