//! What this process uses, from `/proc`; unknown where there is none.

use std::time::Instant;

/// Remembers the last reading, so that CPU is a rate.
#[derive(Default)]
pub(crate) struct Usage {
    last: Option<(Instant, u64)>,
}

/// `/proc` counts CPU in ticks of a hundredth of a second on Linux.
const TICKS_PER_SECOND: f32 = 100.0;

impl Usage {
    /// CPU since the last call in percent of one core, and resident memory in bytes.
    pub(crate) fn now(&mut self) -> (Option<f32>, Option<u64>) {
        let memory = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| resident(&status));
        let ticks = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_ticks(&stat));
        let now = Instant::now();
        let before = self.last;
        self.last = ticks.map(|ticks| (now, ticks));
        let cpu = before.zip(ticks).map(|((at, before), ticks)| {
            let seconds = now.duration_since(at).as_secs_f32().max(0.001);
            #[expect(clippy::cast_precision_loss, reason = "a second's worth of ticks")]
            let used = ticks.saturating_sub(before) as f32 / TICKS_PER_SECOND;
            used / seconds * 100.0
        });
        (cpu, memory)
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// User and system time: the 14th and 15th fields; the second is a name that may hold blanks.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 25 17 0 0 20 0 1 0 5 0";
        assert_eq!(cpu_ticks(stat), Some(42));
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t     2048 kB\n"), Some(2_097_152));
    }
}
