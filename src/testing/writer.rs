//! Writes GGUF files, valid ones and, where asked byte by byte, invalid ones.

use std::path::Path;

use half::f16;

use crate::gguf::ValueKind;

/// A GGUF file in the making. Nothing is checked: a test may write whatever it likes.
#[derive(Debug, Clone)]
pub struct Writer {
    /// Written as is.
    pub version: u32,
    /// Multiple that tensor data is placed at. Written as a key only by [`Writer::u32`].
    pub alignment: usize,
    /// `(name, type number, value)`, in order.
    pub keys: Vec<(Vec<u8>, u32, Vec<u8>)>,
    /// In order.
    pub tensors: Vec<FileTensor>,
}

/// A tensor in the making.
#[derive(Debug, Clone)]
pub struct FileTensor {
    /// Its name.
    pub name: Vec<u8>,
    /// Its dimensions, the contiguous one first.
    pub shape: Vec<u64>,
    /// GGUF's number of its format.
    pub kind: u32,
    /// Where its data is said to lie; `None` = where it is put.
    pub offset: Option<u64>,
    /// Its data.
    pub data: Vec<u8>,
}

/// A text as it lies in a file: its length and its bytes.
pub fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

impl Writer {
    /// A file with nothing but its architecture.
    pub fn new(arch: &str) -> Self {
        let empty = Self { version: 3, alignment: 32, keys: Vec::new(), tensors: Vec::new() };
        empty.text("general.architecture", arch)
    }

    /// Adds a key with any bytes as its value.
    #[must_use]
    pub fn raw(mut self, name: &str, kind: u32, value: Vec<u8>) -> Self {
        self.keys.push((name.into(), kind, value));
        self
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, ValueKind::Text as u32, text(value.as_bytes()))
    }

    /// Adds an unsigned integer.
    #[must_use]
    pub fn u32(self, name: &str, value: u32) -> Self {
        self.raw(name, ValueKind::U32 as u32, value.to_le_bytes().to_vec())
    }

    /// Adds a float.
    #[must_use]
    pub fn f32(self, name: &str, value: f32) -> Self {
        self.raw(name, ValueKind::F32 as u32, value.to_le_bytes().to_vec())
    }

    /// Adds a boolean.
    #[must_use]
    pub fn bool(self, name: &str, value: bool) -> Self {
        self.raw(name, ValueKind::Bool as u32, vec![value.into()])
    }

    /// Adds an array of elements that are bytes already.
    #[must_use]
    pub fn array(self, name: &str, of: ValueKind, elements: &[Vec<u8>]) -> Self {
        let mut value = (of as u32).to_le_bytes().to_vec();
        value.extend_from_slice(&(elements.len() as u64).to_le_bytes());
        value.extend(elements.concat());
        self.raw(name, ValueKind::Array as u32, value)
    }

    /// Adds an array of texts, which need not be UTF-8.
    #[must_use]
    pub fn texts<T: AsRef<[u8]>>(self, name: &str, values: &[T]) -> Self {
        let elements: Vec<_> = values.iter().map(|value| text(value.as_ref())).collect();
        self.array(name, ValueKind::Text, &elements)
    }

    /// Adds an array of signed integers.
    #[must_use]
    pub fn i32s(self, name: &str, values: &[i32]) -> Self {
        let elements: Vec<_> = values.iter().map(|value| value.to_le_bytes().to_vec()).collect();
        self.array(name, ValueKind::I32, &elements)
    }

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
        self.tensors.push(FileTensor { name: name.into(), shape: shape.to_vec(), kind, offset: None, data });
        self
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

    /// The header, padded to where data begins.
    pub fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        out.extend_from_slice(&(self.keys.len() as u64).to_le_bytes());
        for (name, kind, value) in &self.keys {
            out.extend(text(name));
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(value);
        }
        let mut next = 0;
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
            out.extend(tensor.shape.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend_from_slice(&tensor.kind.to_le_bytes());
            out.extend_from_slice(&tensor.offset.unwrap_or(next as u64).to_le_bytes());
            next = (next + tensor.data.len()).next_multiple_of(self.alignment);
        }
        out.resize(out.len().next_multiple_of(self.alignment), 0);
        out
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        let data = out.len();
        for tensor in &self.tensors {
            out.resize(data + (out.len() - data).next_multiple_of(self.alignment), 0);
            out.extend_from_slice(&tensor.data);
        }
        out
    }

    /// Writes the file.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, self.bytes())
    }
}
