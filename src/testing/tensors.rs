//! What files that tests are made of have besides: more kinds of keys, and tensors of numbers.

use crate::gguf::ValueKind;
use crate::gguf::write::{FileTensor, Writer};
use half::f16;
use std::path::Path;

impl Writer {
    /// Adds an array of floats.
    #[must_use]
    pub fn f32s(self, name: &str, values: &[f32]) -> Self {
        let elements: Vec<_> = values.iter().map(|value| value.to_le_bytes().to_vec()).collect();
        self.array(name, ValueKind::F32, &elements)
    }

    /// Adds an array of booleans.
    #[must_use]
    pub fn bools(self, name: &str, values: &[bool]) -> Self {
        let elements: Vec<_> = values.iter().map(|&value| vec![value.into()]).collect();
        self.array(name, ValueKind::Bool, &elements)
    }

    /// Adds a tensor with any bytes as its data.
    #[must_use]
    pub fn tensor(mut self, name: &str, shape: &[u64], kind: u32, data: Vec<u8>) -> Self {
        self.tensors.push(FileTensor { name: name.into(), shape: shape.to_vec(), kind, offset: None, data, zeros: 0 });
        self
    }

    /// Writes the file.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, self.bytes())
    }

    /// Adds an F32 tensor.
    #[must_use]
    pub fn tensor_f32(self, name: &str, shape: &[u64], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, shape, 0, data)
    }

    /// Adds an F16 tensor.
    #[must_use]
    pub fn tensor_f16(self, name: &str, shape: &[u64], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        self.tensor(name, shape, 1, data)
    }

    /// Adds a Q8_0 tensor: blocks of 32 values, an f16 scale and 32 signed bytes each.
    #[must_use]
    pub fn tensor_q8_0(self, name: &str, shape: &[u64], values: &[f32]) -> Self {
        let mut data = Vec::with_capacity(values.len() / 32 * 34);
        for block in values.chunks(32) {
            let scale = block.iter().fold(0f32, |max, x| max.max(x.abs())) / 127.0;
            let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
            data.extend_from_slice(&f16::from_f32(scale).to_le_bytes());
            data.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
        }
        self.tensor(name, shape, 8, data)
    }
}
