//! Least, middle and greatest of some values.

/// How a figure varies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (lower, upper) = (values.len().checked_sub(1)? / 2, values.len() / 2);
        Some(Self {
            min: *values.first()?,
            median: (values.get(lower)? + values.get(upper)?) / 2.0,
            max: *values.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        for (values, expected) in [
            (&[3.0][..], [3.0, 3.0, 3.0]),
            (&[4.0, 1.0], [1.0, 2.5, 4.0]),
            (&[9.0, 1.0, 2.0], [1.0, 2.0, 9.0]),
        ] {
            let [min, median, max] = expected;
            let expected = Spread { min, median, max };
            assert_eq!(Spread::of(values.iter().copied()), Some(expected));
        }
        assert_eq!(Spread::of([]), None);
    }
}
