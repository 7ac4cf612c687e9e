//! Operators that work element by element, on operands that broadcast.

use super::Builder;
use crate::graph::{Dim, Fact, Shape, Value};
use crate::onnx::DataType;
use crate::onnx::proto::AttributeProto;

/// The shape that two operands broadcast to.
pub fn broadcast(a: &Shape, b: &Shape) -> Shape {
    let (a, b) = (a.as_ref()?, b.as_ref()?);
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let offset = long.len() - short.len();
    let dim = |i: usize| match i.checked_sub(offset).map(|j| (&long[i], &short[j])) {
        None => long[i].clone(),
        Some((x, y)) if x.is(y) => x.clone(),
        Some((Dim::Known(1), other) | (other, Dim::Known(1))) => other.clone(),
        Some((Dim::Known(size), _) | (_, Dim::Known(size))) => Dim::Known(*size),
        Some(_) => Dim::Unknown,
    };
    Some((0..long.len()).map(dim).collect())
}

impl Builder<'_> {
    /// An operator whose output is of the type and shape of its one input.
    pub fn unary(&self, operator: &str, x: impl AsRef<Value>) -> Value {
        let x = x.as_ref();
        let fact = self.fact(x);
        self.node(operator, &[x], vec![], fact)
    }

    /// An operator on two operands that broadcast, whose output is of the first one's element type.
    pub fn binary(&self, operator: &str, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        let (a, b) = (a.as_ref(), b.as_ref());
        let shape = broadcast(&self.fact(a).shape, &self.fact(b).shape);
        let fact = Fact { element: self.fact(a).element, shape };
        self.node(operator, &[a, b], vec![], fact)
    }

    /// A comparison of two operands that broadcast (`Greater`, `GreaterOrEqual`, `Less`, `LessOrEqual`, `Equal`), or
    /// `And`, `Or`. Numbers of bfloat16 are compared as float32: ONNX Runtime has no kernel for them on cards.
    pub fn compare(&self, operator: &str, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        let comparable = |value: &Value| match self.fact(value).element {
            DataType::Bfloat16 => self.cast(value, DataType::Float),
            _ => value.clone(),
        };
        let (a, b) = (comparable(a.as_ref()), comparable(b.as_ref()));
        let shape = broadcast(&self.fact(&a).shape, &self.fact(&b).shape);
        self.node(operator, &[&a, &b], vec![], Fact { element: DataType::Bool, shape })
    }

    /// `a` where `condition`, `b` elsewhere. On large tensors a product with [`Self::mask`] is several times faster in
    /// ONNX Runtime; it differs where the other factor is not finite.
    pub fn select(&self, condition: impl AsRef<Value>, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        let (condition, a, b) = (condition.as_ref(), a.as_ref(), b.as_ref());
        let shape = broadcast(&self.fact(a).shape, &self.fact(b).shape);
        let shape = broadcast(&self.fact(condition).shape, &shape);
        let fact = Fact { element: self.fact(a).element, shape };
        self.node("Where", &[condition, a, b], vec![], fact)
    }

    /// 1 where `condition`, 0 elsewhere, in the element type of `like`.
    pub fn mask(&self, condition: impl AsRef<Value>, like: impl AsRef<Value>) -> Value {
        self.cast(condition, self.fact(like.as_ref()).element)
    }

    /// The same numbers in another element type.
    pub fn cast(&self, x: impl AsRef<Value>, element: DataType) -> Value {
        let x = x.as_ref();
        if self.graph().facts.get(x).is_some_and(|fact| fact.element == element) {
            return x.clone();
        }
        let fact = Fact { element, shape: self.fact(x).shape.clone() };
        self.node("Cast", &[x], vec![AttributeProto::int("to", i64::from(element as i32))], fact)
    }

    /// The same numbers in the element type of `like`.
    pub fn cast_like(&self, x: impl AsRef<Value>, like: impl AsRef<Value>) -> Value {
        self.cast(x, self.fact(like.as_ref()).element)
    }

    /// a + b
    pub fn add(&self, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        self.binary("Add", a, b)
    }

    /// The sum of values of one shape; there is at least one.
    pub fn sum(&self, parts: &[Value]) -> Value {
        match parts {
            [one] => one.clone(),
            [a, b] => self.add(a, b),
            _ => {
                let fact =
                    parts.first().map(|part| self.fact(part)).unwrap_or_else(|| Fact::of(DataType::Float).into());
                self.node("Sum", &parts.iter().collect::<Vec<_>>(), vec![], fact)
            }
        }
    }

    /// a − b
    pub fn sub(&self, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        self.binary("Sub", a, b)
    }

    /// a · b, element by element
    pub fn mul(&self, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        self.binary("Mul", a, b)
    }

    /// a / b
    pub fn div(&self, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        self.binary("Div", a, b)
    }

    /// a / b; 0 where b = 0
    pub fn div_or_zero(&self, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        let (a, b) = (a.as_ref(), b.as_ref());
        let is_zero = self.mask(self.compare("Equal", b, self.number(0.0, b)), b);
        let divisor = self.add(b, &is_zero);
        let kept = self.minus_from(1.0, is_zero);
        self.mul(self.div(a, divisor), kept)
    }

    /// a · b, where b broadcasts to the shape of a: the result surely has it.
    pub fn mul_by(&self, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        let (a, b) = (a.as_ref(), b.as_ref());
        let fact = self.fact(a);
        self.node("Mul", &[a, b], vec![], fact)
    }

    /// a / b, where b broadcasts to the shape of a: the result surely has it.
    pub fn div_by(&self, a: impl AsRef<Value>, b: impl AsRef<Value>) -> Value {
        let (a, b) = (a.as_ref(), b.as_ref());
        let fact = self.fact(a);
        self.node("Div", &[a, b], vec![], fact)
    }

    /// −x
    pub fn neg(&self, x: impl AsRef<Value>) -> Value {
        self.unary("Neg", x)
    }

    /// x + c
    pub fn plus(&self, x: impl AsRef<Value>, c: f64) -> Value {
        let x = x.as_ref();
        if c == 0.0 {
            return x.clone();
        }
        self.add(x, self.number(c, x))
    }

    /// c − x
    pub fn minus_from(&self, c: f64, x: impl AsRef<Value>) -> Value {
        let x = x.as_ref();
        self.sub(self.number(c, x), x)
    }

    /// c · x
    pub fn scale(&self, x: impl AsRef<Value>, c: f64) -> Value {
        let x = x.as_ref();
        if c == 1.0 {
            return x.clone();
        }
        self.mul(x, self.number(c, x))
    }
}
