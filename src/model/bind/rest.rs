//! Binds what is made of pooled vectors.

use super::scope::{NORM, Scope, optional};
use crate::arch::{Norm, NormKind, Pooling, Spec};
use crate::model::{ClassifierWeights, Stack};
use crate::{Error, ErrorKind, Result};

impl Scope<'_> {
    pub(super) fn classifier(&self, spec: &Spec) -> Result<Option<ClassifierWeights>> {
        let Pooling::Rank(head) = spec.pooling else { return Ok(None) };
        let rows = if head.single { head.labels } else { spec.embd };
        let norm = Norm { tensor: Some("cls.norm"), kind: NormKind::Layer, eps: spec.output_norm.unwrap_or(NORM).eps };
        Ok(Some(ClassifierWeights {
            dense: self.has("cls.weight").then(|| self.product("cls")).transpose()?,
            norm: self.norm(Some(norm).filter(|_| self.has("cls.norm.weight")), rows)?,
            output: (!head.single).then(|| self.product("cls.output")).transpose()?,
        }))
    }

    /// Products of the pooled vector, each as long as the file says.
    pub(super) fn projections(&self) -> Result<Vec<Stack>> {
        let mut products: Vec<Stack> = Vec::new();
        for name in ["dense_2", "dense_3"] {
            let full = format!("{name}.weight");
            let Some(tensor) = self.gguf.tensor(&full) else { continue };
            let &[cols, rows] = tensor.shape.as_slice() else {
                let error = Error::input(format!("tensor {full}"), "two dimensions", format!("{:?}", tensor.shape));
                return Err(error.of(ErrorKind::InvalidTensor));
            };
            let product = Stack::whole(self.gguf.view(&full)?, 1, rows, cols)?.with_bias(optional(
                self.gguf,
                &format!("{name}.bias"),
                rows,
            )?);
            products.push(product);
        }
        Ok(products)
    }
}
