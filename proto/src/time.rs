//! Times of the contracts as integers: microseconds since 1970-01-01T00:00:00Z, the precision that every service keeps.

use prost_types::Timestamp;

const MICROS_PER_SECOND: i64 = 1_000_000;
const NANOS_PER_MICRO: i64 = 1_000;

/// Unix time in microseconds. What is finer is cut off towards the past; what doesn't fit is the nearest that does.
pub fn to_micros(time: &Timestamp) -> i64 {
    let micros = i128::from(time.seconds) * i128::from(MICROS_PER_SECOND)
        + i128::from(i64::from(time.nanos).div_euclid(NANOS_PER_MICRO));
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

/// The timestamp of a Unix time in microseconds.
pub fn from_micros(micros: i64) -> Timestamp {
    let nanos = micros.rem_euclid(MICROS_PER_SECOND) * NANOS_PER_MICRO;
    Timestamp {
        seconds: micros.div_euclid(MICROS_PER_SECOND),
        nanos: i32::try_from(nanos).expect("less than a second of nanoseconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_survive_the_way_there_and_back() {
        for micros in [0, 1, -1, 999_999, 1_000_000, -1_000_001, 1_605_700_000_123_456, i64::MAX, i64::MIN] {
            let time = from_micros(micros);
            assert!((0..1_000_000_000).contains(&time.nanos), "{micros}");
            assert_eq!(to_micros(&time), micros);
        }
    }

    #[test]
    fn what_is_finer_than_a_microsecond_is_cut_off() {
        assert_eq!(to_micros(&Timestamp { seconds: 1, nanos: 1_999 }), 1_000_001);
    }

    #[test]
    fn what_does_not_fit_is_the_nearest_that_does() {
        assert_eq!(to_micros(&Timestamp { seconds: i64::MAX, nanos: 0 }), i64::MAX);
        assert_eq!(to_micros(&Timestamp { seconds: i64::MIN, nanos: 0 }), i64::MIN);
    }
}
