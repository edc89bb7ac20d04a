//! Binds what is made of pooled vectors.

use super::scope::{NORM, Scope, optional};
use crate::arch::{Norm, NormKind, Pooling, Role, Spec};
use crate::model::{ClassifierWeights, Stack};
use crate::{Error, ErrorKind, Result};

impl Scope<'_> {
    pub(super) fn classifier(&self, spec: &Spec) -> Result<Option<ClassifierWeights>> {
        let Pooling::Rank(head) = spec.pooling else { return Ok(None) };
        let rows = if head.single { head.labels } else { spec.embd };
        let norm = Norm {
            tensor: Some(Role::ClsNorm.stem()),
            kind: NormKind::Layer,
            eps: spec.output_norm.unwrap_or(NORM).eps,
        };
        Ok(Some(ClassifierWeights {
            dense: self.has(Role::Cls).then(|| self.product(Role::Cls)).transpose()?,
            norm: self.norm(Some(norm).filter(|_| self.has(Role::ClsNorm)), rows)?,
            output: (!head.single).then(|| self.product(Role::ClsOutput)).transpose()?,
        }))
    }

    /// Products of the pooled vector, each as long as the file says.
    pub(super) fn projections(&self) -> Result<Vec<Stack>> {
        let mut products: Vec<Stack> = Vec::new();
        for role in [Role::Dense2, Role::Dense3] {
            let full = role.name();
            let Some(tensor) = self.gguf.tensor(full) else { continue };
            let &[cols, rows] = tensor.shape.as_slice() else {
                let error = Error::input(format!("tensor {full}"), "two dimensions", format!("{:?}", tensor.shape));
                return Err(error.of(ErrorKind::InvalidTensor));
            };
            let product = Stack::whole(self.gguf.view(full)?, 1, rows, cols)?.with_bias(optional(
                self.gguf,
                &format!("{}.bias", role.stem()),
                rows,
            )?);
            products.push(product);
        }
        Ok(products)
    }
}
