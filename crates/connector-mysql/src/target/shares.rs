//! How the columns of one index share the bytes that it can have of a row.

/// The most bytes of the values of one row in an index of `InnoDB`'s.
pub(crate) const INDEX: u32 = 3_072;

/// How many bytes each has of so many: what is small has all of it, and what that leaves is divided among the others.
pub(crate) fn divide(sizes: &[u32], mut left: u32) -> Vec<u32> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|at| sizes[*at]);
    let mut others = u32::try_from(sizes.len()).unwrap_or(u32::MAX);
    let mut shares = vec![0; sizes.len()];
    for at in order {
        shares[at] = sizes[at].min(left / others.max(1));
        left -= shares[at];
        others = others.saturating_sub(1);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_has_all_of_it() {
        assert_eq!(divide(&[u32::MAX], INDEX), [3_072]);
        assert_eq!(divide(&[u32::MAX, 8], INDEX), [3_064, 8]);
        assert_eq!(divide(&[u32::MAX, 80, u32::MAX], INDEX), [1_496, 80, 1_496]);
        assert_eq!(divide(&[2_000, 2_000], INDEX), [1_536, 1_536]);
        assert_eq!(divide(&[1_000, 2_072], INDEX), [1_000, 2_072]);
        assert_eq!(divide(&[], INDEX), [0; 0]);
    }
}
