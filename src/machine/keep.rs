//! Which CPUs each thread is to stay on.

use super::{CoreKind, Machine};

impl Machine {
    /// The logical CPUs for each of so many threads, where it is better to keep each on a core of its own than to leave that to the
    /// system: two of them could meet on the siblings of one core, or on cores that are to be left out.
    ///
    /// `None` where nothing is gained, and for a number of threads that is neither that of all useful cores nor that of the
    /// performance cores: which cores are free, only the system knows then.
    pub(crate) fn places(&self, threads: usize) -> Option<Vec<Vec<usize>>> {
        let of = |wanted: &dyn Fn(CoreKind) -> bool| -> Vec<Vec<usize>> {
            let chosen = self.cores.iter().filter(|core| wanted(core.kind));
            let allowed = |cpus: &[usize]| cpus.iter().copied().filter(|cpu| self.allowed.contains(cpu)).collect();
            chosen.map(|core| allowed(&core.cpus)).collect()
        };
        let useful = of(&|kind| kind != CoreKind::Little);
        let fast = of(&|kind| kind == CoreKind::Performance);
        let places = [useful, fast].into_iter().find(|places| places.len() == threads)?;
        // As many CPUs as threads: the system spreads them itself.
        let chosen = self.allowed.len() > threads && threads > 1 && places.iter().all(|cpus| !cpus.is_empty());
        chosen.then_some(places)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Core;
    use super::*;
    use CoreKind::{Efficiency as E, Little as L, Performance as P};

    fn machine(cores: &[(CoreKind, &[usize])], allowed: &[usize]) -> Machine {
        let cores = cores.iter().map(|&(kind, cpus)| Core { cpus: cpus.to_vec(), kind }).collect();
        Machine { cores, allowed: allowed.to_vec(), ..Machine::default() }
    }

    #[test]
    fn threads_are_kept_off_siblings_and_off_cores_that_are_left_out() {
        let siblings = machine(&[(P, &[0, 2]), (P, &[1, 3])], &[0, 1, 2, 3]);
        assert_eq!(siblings.places(2), Some(vec![vec![0, 2], vec![1, 3]]));
        let mixed = machine(&[(P, &[0, 1]), (P, &[2, 3]), (E, &[4]), (E, &[5])], &[0, 1, 2, 3, 4, 5]);
        assert_eq!(mixed.places(2), Some(vec![vec![0, 1], vec![2, 3]]));
        assert_eq!(mixed.places(4), Some(vec![vec![0, 1], vec![2, 3], vec![4], vec![5]]));
        let little = machine(&[(L, &[0]), (L, &[1]), (P, &[2]), (P, &[3])], &[0, 1, 2, 3]);
        assert_eq!(little.places(2), Some(vec![vec![2], vec![3]]));
    }

    #[test]
    fn the_system_chooses_where_nothing_is_gained_or_another_number_is_wanted() {
        let siblings = machine(&[(P, &[0, 2]), (P, &[1, 3])], &[0, 1, 2, 3]);
        for threads in [0, 1, 3, 4, 8] {
            assert_eq!(siblings.places(threads), None, "{threads}");
        }
        // As many CPUs as cores, by themselves or because this process may use no more.
        assert_eq!(machine(&[(P, &[0]), (P, &[1])], &[0, 1]).places(2), None);
        assert_eq!(machine(&[(P, &[0, 2]), (P, &[1, 3])], &[0, 1]).places(2), None);
        assert_eq!(Machine::default().places(0), None);
        // Only what this process may use counts.
        let some = machine(&[(P, &[0, 2]), (P, &[1, 3])], &[0, 1, 3]);
        assert_eq!(some.places(2), Some(vec![vec![0], vec![1, 3]]));
    }
}
