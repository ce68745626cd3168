//! Lines in a coordinate system, as SVG.

use std::fmt::Write as _;

use super::escape::escape;
use crate::result::three_digits;

/// A drawing of some lines.
#[derive(Clone, Debug)]
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) x: Axis<'a>,
    pub(super) y: Axis<'a>,
    pub(super) lines: Vec<Line>,
    /// Upright lines with a name, as where a phase begins.
    pub(super) marks: Vec<(f64, String)>,
}

/// One direction of a drawing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis<'a> {
    pub(super) label: &'a str,
    pub(super) scale: Scale<'a>,
}

/// How values become places.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale<'a> {
    /// Evenly, from 0.
    Even,
    /// By their decimal logarithm.
    Logarithmic,
    /// Evenly, with these names for 0, 1, 2 and so on.
    Named(&'a [&'a str]),
}

/// Points in the order of their x, with the name of what they are.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

impl Chart<'_> {
    /// The drawing; nothing if no line has a point.
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|it| &it.points);
        let finite = |values: &mut dyn Iterator<Item = f64>| -> Vec<f64> {
            values.filter(|it| it.is_finite()).collect()
        };
        let xs = finite(&mut points().map(|it| it.0));
        let ys = finite(&mut points().map(|it| it.1));
        if xs.is_empty() || ys.is_empty() {
            return String::new();
        }
        let x = Range::of(self.x.scale, &xs);
        let y = Range::of(self.y.scale, &ys).ending_on_a_step();
        let title = escape(self.title);
        let mut svg = format!(
            "<figure><figcaption>{title}</figcaption>\n\
             <svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\">\n"
        );
        self.grid(&mut svg, &x, &y);
        self.draw_marks(&mut svg, &x);
        for (index, line) in self.lines.iter().enumerate() {
            draw_line(&mut svg, index, line, &x, &y);
        }
        svg.push_str("</svg>\n");
        self.legend(&mut svg);
        svg.push_str("</figure>\n");
        svg
    }

    fn grid(&self, svg: &mut String, x: &Range<'_>, y: &Range<'_>) {
        // Writing to a String cannot fail, here and below.
        for (value, name) in y.ticks() {
            let at = place_y(y.part(value));
            let _infallible = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                escape(&name)
            );
        }
        for (value, name) in x.ticks() {
            let at = place_x(x.part(value));
            let _infallible = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{BOTTOM}\"/>\
                 <text class=\"tick\" text-anchor=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
                BOTTOM + 16.0,
                escape(&name)
            );
        }
        let _infallible = writeln!(
            svg,
            "<text class=\"label\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <text class=\"label\" x=\"4\" y=\"14\">{}</text>",
            f64::midpoint(LEFT, RIGHT),
            HEIGHT - 4.0,
            escape(self.x.label),
            escape(self.y.label)
        );
    }

    fn draw_marks(&self, svg: &mut String, x: &Range<'_>) {
        for (value, name) in &self.marks {
            let at = place_x(x.part(*value));
            let _infallible = writeln!(
                svg,
                "<line class=\"mark\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{BOTTOM}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                at + 3.0,
                TOP - 3.0,
                escape(name)
            );
        }
    }

    fn legend(&self, svg: &mut String) {
        svg.push_str("<ul class=\"legend\">");
        for (index, line) in self.lines.iter().enumerate() {
            let color = index % COLORS;
            let name = escape(&line.name);
            let _infallible = write!(svg, "<li class=\"c{color}\">{name}</li>");
        }
        svg.push_str("</ul>\n");
    }
}

fn draw_line(svg: &mut String, index: usize, line: &Line, x: &Range<'_>, y: &Range<'_>) {
    let mut places = String::new();
    for (at, value) in thin(&line.points) {
        if at.is_finite() && value.is_finite() {
            let (at, value) = (place_x(x.part(at)), place_y(y.part(value)));
            let _infallible = write!(places, "{at:.1},{value:.1} ");
        }
    }
    let _infallible = writeln!(
        svg,
        "<polyline class=\"line c{}\" points=\"{}\"><title>{}</title></polyline>",
        index % COLORS,
        places.trim_end(),
        escape(&line.name)
    );
}

/// As many points as the drawing can show: of more of them the means of neighbours.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let together = points.len().div_ceil(POINTS_MAX).max(1);
    let means = points.chunks(together).map(|chunk| {
        let count = chunk.len() as f64;
        let (x, y) = chunk
            .iter()
            .fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        (x / count, y / count)
    });
    means.collect()
}

/// The values that an axis shows, as they are placed: logarithms on a logarithmic one.
struct Range<'a> {
    scale: Scale<'a>,
    from: f64,
    to: f64,
}

impl<'a> Range<'a> {
    fn of(scale: Scale<'a>, values: &[f64]) -> Self {
        let greatest = values.iter().copied().fold(f64::MIN, f64::max);
        let (from, to) = match scale {
            Scale::Even => (0.0, greatest.max(f64::MIN_POSITIVE)),
            Scale::Named(names) => (0.0, names.len().saturating_sub(1).max(1) as f64),
            Scale::Logarithmic => {
                let positive = values.iter().copied().filter(|it| *it > 0.0);
                let least = positive.fold(f64::MAX, f64::min).min(greatest.max(LEAST));
                let (from, to) = (least.log10().floor(), greatest.max(LEAST).log10().ceil());
                (from, to.max(from + 1.0))
            }
        };
        Self { scale, from, to }
    }

    /// So far that the last step is whole: no line runs along the edge.
    fn ending_on_a_step(mut self) -> Self {
        if matches!(self.scale, Scale::Even) {
            let step = step(self.to);
            self.to = self.to.max((self.to / step - 1e-6).ceil() * step);
        }
        self
    }

    /// Where a value is, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Logarithmic => value.max(LEAST).log10(),
            _ => value,
        };
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// Values with their names.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Named(names) => names
                .iter()
                .enumerate()
                .map(|(index, name)| (index as f64, (*name).to_owned()))
                .collect(),
            Scale::Logarithmic => (self.from as i32..=self.to as i32)
                .map(|power| 10_f64.powi(power))
                .map(|value| (value, value.to_string()))
                .collect(),
            Scale::Even => {
                let step = step(self.to);
                (0..=TICKS_MAX)
                    .map(|index| index as f64 * step)
                    .take_while(|value| *value <= self.to * 1.000_001)
                    .map(|value| (value, round(value)))
                    .collect()
            }
        }
    }
}

/// 1, 2 or 5 with some zeros, of which about five make `greatest`.
fn step(greatest: f64) -> f64 {
    let rough = greatest / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|it| it * power >= rough);
    digit.unwrap_or(10.0) * power
}

fn round(value: f64) -> String {
    match value == value.round() {
        true => format!("{value:.0}"),
        false => three_digits(value),
    }
}

fn place_x(part: f64) -> f64 {
    LEFT + part * (RIGHT - LEFT)
}

fn place_y(part: f64) -> f64 {
    BOTTOM - part * (BOTTOM - TOP)
}

const WIDTH: f64 = 876.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 848.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 258.0;
/// Colours that the page has classes for, `c0` and so on.
pub(super) const COLORS: usize = 6;
const POINTS_MAX: usize = 1_200;
const TICKS_MAX: usize = 20;
/// What can be placed on a logarithmic scale.
const LEAST: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, scale: Scale<'_>) -> Chart<'_> {
        Chart {
            title: "a & b",
            x: Axis {
                label: "s",
                scale: Scale::Even,
            },
            y: Axis {
                label: "<y>",
                scale,
            },
            lines: vec![Line {
                name: "\"it\"".to_owned(),
                points,
            }],
            marks: vec![(5.0, "<phase>".to_owned())],
        }
    }

    #[test]
    fn points_are_where_their_values_are() {
        let svg = chart(vec![(0.0, 0.0), (5.0, 50.0), (10.0, 100.0)], Scale::Even).svg();
        let points = "points=\"64.0,258.0 456.0,146.0 848.0,34.0\"";
        assert!(svg.contains(points), "{svg}");
        for text in [
            "a &amp; b",
            "&lt;y&gt;",
            "&quot;it&quot;",
            "&lt;phase&gt;",
            ">80<",
            ">100<",
        ] {
            assert!(svg.contains(text), "{text}\n{svg}");
        }
        let svg = chart(vec![(0.0, 0.0), (10.0, 70.0)], Scale::Even).svg();
        // Of 80, not of 70, high.
        assert!(
            svg.contains("848.0,62.0\"") && svg.contains(">80<"),
            "{svg}"
        );
        let svg = chart(vec![(0.0, 0.1), (10.0, 10.0)], Scale::Logarithmic).svg();
        assert!(svg.contains("points=\"64.0,258.0 848.0,34.0\""), "{svg}");
        assert!(svg.contains(">0.1<") && svg.contains(">1<") && svg.contains(">10<"));
    }

    #[test]
    fn odd_values_are_drawn_or_left_out_and_never_written() {
        for points in [
            vec![(0.0, f64::NAN), (1.0, 1.0)],
            vec![(0.0, f64::INFINITY), (1.0, 0.0)],
            vec![(3.0, 0.0)],
            vec![(0.0, 1e300), (1.0, 1e-300)],
        ] {
            for scale in [Scale::Even, Scale::Logarithmic] {
                let svg = chart(points.clone(), scale).svg();
                assert!(svg.contains("<polyline"));
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
        assert_eq!(chart(vec![], Scale::Even).svg(), "");
        assert_eq!(chart(vec![(0.0, f64::NAN)], Scale::Even).svg(), "");
    }

    #[test]
    fn steps_are_round() {
        for (greatest, expected) in [
            (100.0, 20.0),
            (7.0, 2.0),
            (0.3, 0.1),
            (26.0, 10.0),
            (5.0, 1.0),
        ] {
            assert!(
                (step(greatest) - expected).abs() < expected / 1e6,
                "{greatest}"
            );
        }
    }

    #[test]
    fn many_points_are_their_means() {
        let points: Vec<_> = (0..10_000)
            .map(|it| (f64::from(it), f64::from(it % 2)))
            .collect();
        let thinned = thin(&points);
        assert!(thinned.len() <= POINTS_MAX);
        let sum: f64 = thinned.iter().map(|it| it.1).sum();
        assert!((sum / thinned.len() as f64 - 0.5).abs() < 0.1);
        assert_eq!(thin(&points[..5]), points[..5]);
    }
}
