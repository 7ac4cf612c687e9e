//! Enums whose values users know by name.

use strum::{EnumMessage, VariantArray};

/// An enum whose values have names and a line of help each: what a flag or a field of a configuration may be.
///
/// It is there for every enum that derives [`VariantArray`], [`EnumMessage`] and [`strum::IntoStaticStr`]; the help is
/// the first paragraph of a variant's documentation.
///
/// ```
/// use gnp_base::named::Named as _;
/// use strum::{EnumMessage, IntoStaticStr, VariantArray};
///
/// #[derive(Clone, Copy, Debug, PartialEq, VariantArray, IntoStaticStr, EnumMessage)]
/// #[strum(serialize_all = "kebab-case")]
/// enum Norm {
///     /// The Euclidean norm
///     TwoNorm,
/// }
/// assert_eq!(Norm::TwoNorm.name(), "two-norm");
/// assert_eq!(Norm::named("two-norm"), Some(Norm::TwoNorm));
/// assert_eq!(Norm::TwoNorm.help(), Some("The Euclidean norm"));
/// ```
pub trait Named: Copy + 'static {
    /// All values, in the order of their declaration.
    fn all() -> &'static [Self];

    /// The name.
    fn name(self) -> &'static str;

    /// What it means, in a line.
    fn help(self) -> Option<&'static str>;

    /// The value of this name.
    fn named(name: &str) -> Option<Self> {
        Self::all().iter().copied().find(|value| value.name() == name)
    }
}

impl<T: VariantArray + EnumMessage + Into<&'static str> + Copy + 'static> Named for T {
    fn all() -> &'static [Self] {
        T::VARIANTS
    }

    fn name(self) -> &'static str {
        self.into()
    }

    fn help(self) -> Option<&'static str> {
        self.get_documentation()
    }
}
