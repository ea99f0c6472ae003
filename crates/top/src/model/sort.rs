//! By what lists are sorted.

use std::cmp::Ordering;

/// What the rows of a list are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SortKey {
    /// How much moves now.
    Rate,
    /// How much has moved.
    Total,
    /// Since when it is there.
    Age,
    /// What it is called, or its address.
    Name,
}

/// A key and a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sort {
    /// By what.
    pub(crate) key: SortKey,
    /// Against the key's usual direction.
    pub(crate) reversed: bool,
}

impl SortKey {
    /// Every key, in the order in which `s` goes through them.
    pub(crate) const ALL: [Self; 4] = [Self::Rate, Self::Total, Self::Age, Self::Name];

    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Total => "total",
            Self::Age => "age",
            Self::Name => "name",
        }
    }

    /// Whether small values usually come first. The largest rate, the largest total and the
    /// youngest row are what one looks for.
    pub(crate) const fn rises(self) -> bool {
        matches!(self, Self::Age | Self::Name)
    }
}

impl Sort {
    /// By `key`, in its usual direction.
    pub(crate) const fn by(key: SortKey) -> Self {
        Self { key, reversed: false }
    }

    /// After the user has asked for `key`: asked again for the same, the other way round.
    pub(crate) fn choose(&mut self, key: SortKey) {
        *self = Self { key, reversed: self.key == key && !self.reversed };
    }

    /// By the next key, in its usual direction.
    pub(crate) fn cycle(&mut self) {
        let at = SortKey::ALL.iter().position(|&key| key == self.key).unwrap_or(0);
        *self = Self::by(SortKey::ALL[(at + 1) % SortKey::ALL.len()]);
    }

    /// Whether small values come first.
    pub(crate) const fn rises(self) -> bool {
        self.key.rises() != self.reversed
    }

    /// Turns an order of rising values into this one.
    pub(crate) const fn direct(self, rising: Ordering) -> Ordering {
        if self.rises() { rising } else { rising.reverse() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_twice_it_turns_round() {
        let mut sort = Sort::by(SortKey::Rate);
        assert!(!sort.rises(), "the fastest first");
        sort.choose(SortKey::Rate);
        assert!(sort.rises());
        sort.choose(SortKey::Rate);
        assert!(!sort.rises());
        sort.choose(SortKey::Name);
        assert!(sort.rises());
        sort.cycle();
        assert_eq!(sort, Sort::by(SortKey::Rate));
    }
}
