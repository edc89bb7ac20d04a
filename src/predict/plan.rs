//! Will it fit: the memory of a model on this machine, before it runs.

pub use super::need::Need;
use crate::machine::Machine;
use crate::model::Model;
use crate::platform::process;
use crate::units::show_bytes;
use crate::{Error, ErrorKind, Result};
use tokki_quant::attention::KvKind;

/// Kept free for everybody else on the machine, but an eighth of what there is at most.
const RESERVE: u64 = 256 << 20;

/// Kept of a limit of address space for what maps more than it uses: stacks of threads, arenas of the allocator, grammars.
const ASIDE: u64 = 128 << 20;

/// The longest context that is thought about: sizes of anything longer would not be numbers any more.
pub const MAX_PLANNED_CONTEXT: usize = 1 << 28;

/// Context when none is asked for: long enough for a conversation with a thought in it.
pub const DEFAULT_CONTEXT: usize = 8192;

/// Bytes of memory that this process may take: what the system could give, within the control group's limit.
pub fn free_memory(machine: &Machine) -> u64 {
    // Beyond a limit of address space, an allocation ends the process.
    let mapped = process::address_space().map_or(u64::MAX, |left| left.saturating_sub(ASIDE));
    let available = machine.memory.available.min(mapped);
    available - RESERVE.min(available / 8)
}

/// As [`free_memory`], with what the model's own copy of its weights has already.
pub fn free_memory_for(model: &Model, machine: &Machine) -> u64 {
    free_memory(machine).saturating_add(model.gguf.copied_bytes() + model.heap_bytes())
}

/// What fits on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the session will need.
    pub need: Need,
    /// One line for the user, where the choice isn't simply what was asked for or expected.
    pub remark: Option<String>,
}

/// Chooses the context: `wanted`, or else the default as far as the model was trained and memory allows.
///
/// # Errors
/// [`Error::Input`] with the numbers when not even a small context fits: nothing is started that would be killed.
pub fn choose(model: &Model, kind: KvKind, batch: usize, wanted: Option<usize>, free: u64) -> Result<Choice> {
    /// Less than this is of no use.
    const MIN_CONTEXT: usize = 512;
    let trained = model.spec.context_train.max(1);
    if let Some(wanted) = wanted.filter(|&wanted| wanted > MAX_PLANNED_CONTEXT) {
        return Err(Error::input("`ctx`", format!("at most {MAX_PLANNED_CONTEXT} tokens"), wanted.to_string()));
    }
    let most = model.spec.context_most.unwrap_or(usize::MAX);
    let mut context = wanted.unwrap_or_else(|| trained.min(DEFAULT_CONTEXT)).min(most);
    let mut need = Need::new(model, context, kind, batch);
    let mut remark = None;
    if need.anonymous() > free {
        let least = Need::new(model, MIN_CONTEXT.min(context), kind, batch);
        if wanted.is_some() || least.anonymous() > free {
            return Err(too_large(&need, kind, free));
        }
        while need.anonymous() > free {
            context = (context * 3 / 4).max(MIN_CONTEXT);
            need = Need::new(model, context, kind, batch);
        }
        remark = Some(format!("context {context}: more does not fit into the {} that are free", show_bytes(free)));
    }
    if wanted.is_some_and(|wanted| wanted > most) {
        remark = Some(format!(
            "context {context}: this model's attention goes over {most} at most here; choosing among more, by its indexer, is \
             not supported"
        ));
    } else if wanted.is_some_and(|wanted| wanted > trained) {
        remark = Some(format!(
            "context {context} is more than the {trained} that the model was trained for: past those its answers may make no sense"
        ));
    }
    if need.total() > free {
        remark = Some(format!(
            "weights ({}) and cache ({}) exceed the {} that are free: weights will be read from disk again and again",
            show_bytes(need.weights),
            show_bytes(need.cache),
            show_bytes(free)
        ));
    }
    Ok(Choice { need, remark })
}

fn too_large(need: &Need, kind: KvKind, free: u64) -> Error {
    let found = format!(
        "{} free ({} of cache at context {} in {}, {} of buffers and program)",
        show_bytes(free),
        show_bytes(need.cache),
        need.context,
        kind.name(),
        show_bytes(need.anonymous() - need.cache)
    );
    let hint = if kind == KvKind::Q8 { "use a smaller `ctx`" } else { "use a smaller `ctx` or `kv_type` q8_0" };
    Error::input("memory", format!("{} besides the weights", show_bytes(need.anonymous())), found)
        .of(ErrorKind::TooLarge)
        .hint(hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::tiny;

    fn model() -> Model {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = tiny("llama", 1).unwrap();
        writer.keys.retain(|(name, ..)| name != b"llama.context_length");
        writer.u32("llama.context_length", 1 << 20).write(file.path()).unwrap();
        Model::open(file.path()).unwrap()
    }

    #[test]
    fn the_context_is_what_memory_allows() {
        let model = model();
        let choose = |wanted, free| choose(&model, KvKind::F16, 512, wanted, free);
        let need = |context| Need::new(&model, context, KvKind::F16, 512);
        let all = choose(None, u64::MAX).unwrap();
        assert_eq!((all.need.context, all.remark), (DEFAULT_CONTEXT, None));
        // A little less than the default needs: a smaller one, which is said.
        let free = need(DEFAULT_CONTEXT).anonymous() - 1;
        let less = choose(None, free).unwrap();
        assert!((512..DEFAULT_CONTEXT).contains(&less.need.context) && less.need.anonymous() <= free);
        assert!(less.remark.is_some());
        // Weights that do not fit are no reason to refuse, and are told.
        let weights = choose(Some(1024), need(1024).total() - 1).unwrap();
        assert!(weights.remark.unwrap().contains("from disk"));
    }

    #[test]
    fn what_cannot_fit_is_refused_with_the_numbers() {
        let model = model();
        let need = Need::new(&model, 4096, KvKind::F16, 512);
        for (wanted, free) in [(Some(4096), need.anonymous() - 1), (None, 1 << 20)] {
            let error = choose(&model, KvKind::F16, 512, wanted, free).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(text.contains(&show_bytes(free)) && text.contains("`kv_type` q8_0"), "{text}");
        }
    }
}
