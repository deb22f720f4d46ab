//! Counts tests by what libtest and vitest print.

/// Tests of all stages so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed, and stages that failed otherwise.
    pub(crate) failed: u64,
    /// Tests that were not run because they need a cluster.
    pub(crate) ignored: u64,
}

impl Tally {
    /// Counts a line such as `test result: ok. 5 passed; 0 failed; 2 ignored; …` of libtest, or such as
    /// `  Tests  5 passed | 1 failed (6)` of vitest; any other is nothing. What vitest skips is optional,
    /// and not counted.
    pub(crate) fn count(&mut self, line: &str) {
        let libtest = line.strip_prefix("test result: ").and_then(|l| l.split_once(". "));
        let vitest = line.trim_start().strip_prefix("Tests  ");
        let counts = libtest.map(|(_, counts)| counts).or(vitest).unwrap_or_default();
        for count in counts.split(['|', ';']).map(str::trim) {
            // Behind the last count of vitest stands the sum.
            let count = count.split_once(" (").map_or(count, |(count, _)| count);
            let (number, what) = count.split_once(' ').unwrap_or_default();
            let number = number.parse::<u64>().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    /// Adds the tests of a run of ignored tests: these were ignored before, and no longer are.
    pub(crate) fn add_formerly_ignored(&mut self, run: Self) {
        let Self { passed, failed, ignored } = run;
        self.passed += passed;
        self.failed += failed;
        self.ignored = self.ignored.saturating_sub(passed + failed) + ignored;
    }

    /// The last line.
    pub(crate) fn line(&self) -> String {
        let Self { passed, failed, ignored } = self;
        let skipped = if *ignored > 0 { format!(", {ignored} skipped") } else { String::new() };
        format!("{passed} passed, {failed} failed{skipped}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: &str = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.21s";
    const CLUSTER: &str = "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.00s";

    #[test]
    fn only_the_results_of_a_test_program_are_counted() {
        let mut tally = Tally::default();
        for line in ["running 12 tests", "test a ... ok", UNITS, "", "12 passed; 4 failed"] {
            tally.count(line);
        }
        assert_eq!(tally, Tally { passed: 12, failed: 0, ignored: 3 });
        assert_eq!(tally.line(), "12 passed, 0 failed, 3 skipped");
    }

    #[test]
    fn the_results_of_vitest_are_counted_too() {
        let mut tally = Tally::default();
        for line in [
            " Test Files  1 passed (1)",
            "      Tests  2 failed | 332 passed | 6 skipped (340)",
            "   Duration  50.72s (tests 47.97s)",
            "      Tests  7 passed (7)",
        ] {
            tally.count(line);
        }
        assert_eq!(tally, Tally { passed: 339, failed: 2, ignored: 0 });
    }

    #[test]
    fn a_test_that_was_ignored_first_and_run_later_is_not_skipped() {
        let (mut tally, mut later) = (Tally::default(), Tally::default());
        tally.count(UNITS);
        later.count(CLUSTER);
        tally.add_formerly_ignored(later);
        assert_eq!(tally.line(), "14 passed, 1 failed");
    }
}
