//! Writes GGUF files: those of shapes, those that tests are made of, and, where asked byte by byte, invalid ones.

use super::value::ValueKind;

/// A GGUF file in the making. Nothing is checked.
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
    /// So many zeros follow its data.
    pub zeros: u64,
}

impl FileTensor {
    /// Bytes in the file.
    fn bytes(&self) -> u64 {
        self.data.len() as u64 + self.zeros
    }
}

/// A text as it lies in a file: its length and its bytes.
pub fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = (bytes.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

impl Writer {
    /// Where tensors lie in a file whose keys do not say it.
    pub(crate) const ALIGNMENT: usize = super::scan::DEFAULT_ALIGNMENT as usize;

    /// A file with nothing but its architecture.
    pub fn new(arch: &str) -> Self {
        let empty = Self { version: 3, alignment: Self::ALIGNMENT, keys: Vec::new(), tensors: Vec::new() };
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

    /// Adds a tensor of so many zeros.
    #[must_use]
    pub fn zeros(mut self, name: &str, shape: &[u64], kind: u32, zeros: u64) -> Self {
        let data = Vec::new();
        self.tensors.push(FileTensor { name: name.into(), shape: shape.to_vec(), kind, offset: None, data, zeros });
        self
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
        let mut next = 0u64;
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
            out.extend(tensor.shape.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend_from_slice(&tensor.kind.to_le_bytes());
            out.extend_from_slice(&tensor.offset.unwrap_or(next).to_le_bytes());
            next = (next + tensor.bytes()).next_multiple_of(self.alignment as u64);
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
            out.resize(out.len() + tensor.zeros as usize, 0);
        }
        out
    }
}
