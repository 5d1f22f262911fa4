//! How a replica ended, in words that all backends share.

/// How a replica ended that the kernel killed for want of memory.
pub(crate) const OUT_OF_MEMORY: &str = "out of memory";
/// How it looks before the engine knows why.
#[cfg(any(feature = "replicas", test))]
pub(crate) const KILLED: &str = "killed by signal 9";
/// How many characters of a replica's last lines are shown.
pub(crate) const LAST_WORDS_CHARS: usize = 400;

/// An exit status in words. Above 128 it is a signal's number, as shells and `docker-init` have it.
pub(crate) fn describe_exit(code: i64, out_of_memory: bool) -> String {
    match code {
        _ if out_of_memory => OUT_OF_MEMORY.to_owned(),
        129..=192 => format!("killed by signal {}", code - 128),
        _ => format!("exit code {code}"),
    }
}

/// An end, how often it was followed by another start, and the last lines before it.
pub(crate) fn describe_end(exit: &str, restarts: u32, last_words: &str) -> String {
    let times = match restarts {
        0 => String::new(),
        1 => ", restarted once".to_owned(),
        n => format!(", restarted {n} times"),
    };
    let words = match last_words {
        "" => String::new(),
        words => format!(": {words}"),
    };
    format!("{exit}{times}{words}")
}

/// Why a generation is not ready.
pub(crate) fn not_ready(generation: u64, trouble: &str) -> String {
    format!("generation {generation} is not ready: {trouble}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_in_words() {
        assert_eq!(describe_exit(1, false), "exit code 1");
        assert_eq!(describe_exit(255, false), "exit code 255");
        assert_eq!(describe_exit(139, false), "killed by signal 11");
        assert_eq!(describe_exit(137, true), OUT_OF_MEMORY);
        assert_eq!(describe_exit(137, false), KILLED);
    }

    #[test]
    fn ends_in_words() {
        assert_eq!(describe_end("exit code 3", 0, ""), "exit code 3");
        assert_eq!(describe_end("exit code 3", 1, "x"), "exit code 3, restarted once: x");
    }
}
