//! The functions that a step model calls, by name.
//!
//! A kind of function (`Reduce`, say) says what is computed. Its bodies may differ from call to call, so a model has a
//! function for each body, under numbered names. Who registers a kernel of a kind registers it under all of them: what
//! the kernel needs to know is in the attributes of the call.

/// The domain of the functions.
pub const DOMAIN: &str = "gnp";

/// How many functions of one kind a model may have.
pub const MOST_OF_A_KIND: usize = 128;

/// The name of function `number` of a kind, from 0 on.
///
/// ```
/// use gnp_base::contract::functions::numbered;
/// assert_eq!((numbered("Reduce", 0), numbered("Reduce", 1)), ("Reduce".into(), "Reduce_2".into()));
/// ```
pub fn numbered(kind: &str, number: usize) -> String {
    if number == 0 { kind.to_owned() } else { format!("{kind}_{}", number + 1) }
}
