//! Binds the tensors of a file to a [`Spec`], by the names and shapes of its tensor list.

mod ffn;
mod mixer;
mod rest;
mod rwkv;
mod scope;

use super::{AltUpWeights, FrequencyDivisors, LayerWeights, Model, NormWeights, PerLayerGate, PerLayerWeights};
use crate::Result;
use crate::arch::{End, Layer, Norm, Output, Role, Rope, RopeFactors, Spec};
use crate::gguf::Gguf;
use scope::{NORM, Scope, plain_norm, vector};

/// Binds all weights.
pub(super) fn bind(gguf: Gguf, spec: Spec) -> Result<Model> {
    let shapes = spec.tensor_list().into_iter().map(|tensor| (tensor.name, tensor.shape)).collect();
    let scope = Scope { gguf: &gguf, shapes: &shapes, prefix: String::new() };
    let e = spec.embd;
    let embed = scope.plain(Role::TokenEmbd)?;
    let own_head = scope.has(Role::Output) && matches!(spec.output, Output::Logits { tied: false, .. });
    let output = if own_head { scope.plain(Role::Output)? } else { embed.clone() };
    let output = output.with_scale(scope.scale(Role::Output, 1)?).with_bias(scope.bias(Role::Output, spec.vocab)?);
    let rope_factors = spec.ropes.iter().map(|rope| divisors(&gguf, rope)).collect::<Result<_>>()?;
    let layers = spec
        .layers
        .iter()
        .map(|layer| Scope { prefix: format!("{}.{}.", spec.blocks, layer.block), ..scope }.layer(layer, &spec))
        .collect::<Result<_>>()?;
    Ok(Model {
        positions: spec.embedding.positions.map(|_| scope.plain(Role::PositionEmbd)).transpose()?,
        token_types: scope.rows(Role::TokenTypes, e, spec.embedding.types.map_or(0, |rows| rows.min(2)))?,
        second: spec.embedding.second.then(|| scope.vector(Role::SecondInit)).transpose()?,
        embed_norm: scope.norm(spec.embedding.norm, e)?,
        per_layer: spec.embedding.per_layer.map(|len| scope.per_layer(len, &spec)).transpose()?,
        streams: spec
            .streams
            .map(|_| -> Result<_> { Ok((scope.plain(Role::AltupProj)?, scope.plain(Role::AltupUnembdProj)?)) })
            .transpose()?,
        output_norm: scope.norm(spec.output_norm, e)?,
        classifier: scope.classifier(&spec)?,
        projections: scope.projections()?,
        embed,
        layers,
        output,
        rope_factors,
        spec,
        gguf,
    })
}

impl Scope<'_> {
    fn layer(&self, layer: &Layer, spec: &Spec) -> Result<LayerWeights> {
        let e = spec.embd;
        let scaled = layer.ends.iter().any(|end| matches!(end, End::Scale | End::AddEmbedding));
        let per_layer = layer.ends.contains(&End::PerLayer);
        Ok(LayerWeights {
            attn_norm: self.norm(layer.attn_norm, e)?,
            mixers: layer.mixers.iter().map(|mixer| self.mixer(mixer)).collect::<Result<_>>()?,
            attn_post_norm: self.norm(layer.attn_post_norm, e)?,
            attn_sum_norm: self.norm(layer.attn_sum_norm, e)?,
            attn_again_norm: self.norm(layer.attn_again_norm, e)?,
            feeds: layer.feeds.iter().map(|feed| self.feed(feed, e)).collect::<Result<_>>()?,
            ffn_post_norm: self.norm(layer.ffn_post_norm, e)?,
            ffn_sum_norm: self.norm(layer.ffn_sum_norm, e)?,
            per_layer: per_layer.then(|| self.per_layer_gate(spec)).transpose()?,
            streams: spec.streams.map(|_| self.streams(spec).map(Box::new)).transpose()?,
            output_scale: if scaled { self.vector(Role::LayerOutputScale)?[0] } else { 1.0 },
        })
    }

    fn per_layer_gate(&self, spec: &Spec) -> Result<PerLayerGate> {
        let norm = self.needed_norm(Role::PostNorm, spec)?;
        Ok(PerLayerGate { gate: self.product(Role::InpGate)?, proj: self.product(Role::Proj)?, norm })
    }

    /// A norm of `E` values like the last one.
    fn needed_norm(&self, role: Role, spec: &Spec) -> Result<NormWeights> {
        let norm = Norm { tensor: Some(role.stem()), ..spec.output_norm.unwrap_or(NORM) };
        Ok(self.norm(Some(norm), spec.embd)?.unwrap_or_else(|| plain_norm(norm, spec.embd)))
    }

    fn streams(&self, spec: &Spec) -> Result<AltUpWeights> {
        Ok(AltUpWeights {
            router: self.plain(Role::AltupRouter)?,
            router_norm: self.needed_norm(Role::AltupRouterNorm, spec)?,
            predict: self.vector(Role::AltupPredictCoef)?,
            correct: self.vector(Role::AltupCorrectCoef)?,
            correct_scale: self.vector(Role::AltupCorrectScale)?,
            laurel: (self.plain(Role::LaurelL)?, self.plain(Role::LaurelR)?),
            laurel_norm: self.needed_norm(Role::LaurelPostNorm, spec)?,
            own: self.per_layer_gate(spec)?,
        })
    }

    fn per_layer(&self, len: usize, spec: &Spec) -> Result<PerLayerWeights> {
        let norm = Norm { tensor: Some(Role::PerLayerProjNorm.stem()), ..spec.output_norm.unwrap_or(NORM) };
        Ok(PerLayerWeights {
            embed: self.plain(Role::PerLayerTokenEmbd)?,
            proj: self.plain(Role::PerLayerModelProj)?,
            norm: self.norm(Some(norm), len)?.unwrap_or_else(|| plain_norm(norm, len)),
            len,
        })
    }
}

fn divisors(gguf: &Gguf, rope: &Rope) -> Result<FrequencyDivisors> {
    let len = rope.dims / 2;
    Ok(match &rope.factors {
        None => FrequencyDivisors::default(),
        Some(RopeFactors::Fixed(name)) => {
            let held = gguf.tensor(name).map_or(len, |tensor| tensor.shape.iter().product());
            let mut short = vector(gguf, name, held.max(len))?;
            // Layers that rotate fewer values use the first divisors.
            short.truncate(len);
            let short = Some(short);
            FrequencyDivisors { short, long: None }
        }
        Some(RopeFactors::ByContext { .. }) => FrequencyDivisors {
            short: Some(vector(gguf, Role::RopeFactorsShort.name(), len)?),
            long: Some(vector(gguf, Role::RopeFactorsLong.name(), len)?),
        },
        Some(RopeFactors::Given(values)) => FrequencyDivisors { short: Some(values.clone()), long: None },
    })
}
