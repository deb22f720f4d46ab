//! One line for each bar, as soon as it is known.

/// Whether all bars were met so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    missed: usize,
}

impl Report {
    /// Says what was measured, and holds it to a bar.
    pub(crate) fn hold(&mut self, met: bool, measured: &str) {
        println!("{} {measured}", if met { "PASS" } else { "FAIL" });
        self.missed += usize::from(!met);
    }

    /// Says what was measured and has no bar.
    pub(crate) fn note(measured: &str) {
        println!("     {measured}");
    }

    pub(crate) const fn passed(&self) -> bool {
        self.missed == 0
    }
}
