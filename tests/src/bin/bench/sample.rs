//! Times that were measured, and what is told of them.

use std::time::Duration;

/// Times of one thing.
#[derive(Default)]
pub(crate) struct Sample(Vec<Duration>);

impl Sample {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time that so many in a hundred stay within, the nearest rank.
    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// A row of a table: name, number of times, p50, p99, least and greatest in milliseconds.
    pub(crate) fn row(&self, name: &str) -> String {
        let ms = |percent| self.percentile(percent).as_secs_f64() * 1000.0;
        format!(
            "| {name} | {} | {:.1} | {:.1} | {:.1} | {:.1} |",
            self.0.len(),
            ms(50),
            ms(99),
            ms(0),
            ms(100)
        )
    }
}

/// The head of a table of [`Sample::row`]s.
pub(crate) fn head(title: &str) {
    println!("{title}\n");
    println!("| what | n | p50 ms | p99 ms | min ms | max ms |");
    println!("|---|---|---|---|---|---|");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rank_is_told() {
        let mut sample = Sample::default();
        for ms in (1..=100).rev() {
            sample.add(Duration::from_millis(ms));
        }
        assert_eq!(sample.row("x"), "| x | 100 | 50.0 | 99.0 | 1.0 | 100.0 |");
        assert_eq!(Sample::default().row("y"), "| y | 0 | 0.0 | 0.0 | 0.0 | 0.0 |");
    }
}
