//! Why a value has no place in a column.

/// The reason; never the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("its bytes are not of the form that was agreed")]
    Misshapen,
    #[error("it is NULL, which the column forbids")]
    Null,
    #[error("it is out of the type's range")]
    OutOfRange,
    #[error("it has more digits than the type")]
    TooManyDigits,
    #[error("it is no number, or an infinite one")]
    NotANumber,
    #[error("it is -0, of which MariaDB makes 0")]
    NegativeZero,
    #[error("the type would round it")]
    Rounded,
    #[error("it is later or earlier than every date")]
    Infinite,
    #[error("its year is not one of 0 to 9999")]
    NoSuchYear,
    #[error("it is no date or time of day")]
    NoSuchMoment,
    #[error("a timestamp is a moment from 1970 to 2038")]
    NoSuchTimestamp,
    #[error("it is longer than the column")]
    TooLong,
    #[error("it is not as long as the column, which would be filled up with zeros")]
    TooShort,
    #[error("it ends with a blank, which the type does not keep")]
    TrailingBlank,
    #[error("it has characters that the column's character set lacks")]
    CharacterSet,
    #[error("it is none of the type's labels")]
    NoLabel,
    #[error("it is JSON with a number that MySQL's JSON can't keep exactly")]
    JsonNumber,
    #[error("it is JSON with a name that stands twice in one object, of which MySQL's JSON keeps one")]
    JsonName,
    #[error("it is no JSON")]
    NoJson,
}
