//! A chart of the figures: a group of bars for each latency of the metadata service.

use std::fmt::Write;

/// One bar: a median, and the tenth and ninetieth percentile, in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) middle: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Bars under one heading.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) bars: Vec<Bar>,
}

const COLOURS: [&str; 3] = ["#2f6f9f", "#b0b7bd", "#c9803a"];
const WIDTH: usize = 760;
const BAR: usize = 16;
const LEFT: usize = 250;

/// Draws the groups below each other, each bar to the scale of its group's longest.
pub(crate) fn draw(title: &str, groups: &[Group]) -> String {
    let bars: usize = groups.iter().map(|group| group.bars.len()).sum();
    let height = 60 + bars * (BAR + 4) + groups.len() * 34;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"16\" y=\"28\" font-size=\"16\">{title}</text>\n"
    );
    let mut y = 52;
    for group in groups {
        let longest = group.bars.iter().map(|bar| bar.high).fold(f64::MIN_POSITIVE, f64::max);
        let x = |time: f64| LEFT as f64 + time / longest * (WIDTH - LEFT - 90) as f64;
        let _ = writeln!(svg, "<text x=\"16\" y=\"{}\" font-weight=\"bold\">{}</text>", y + 13, group.name);
        y += 22;
        for (bar, colour) in group.bars.iter().zip(COLOURS) {
            let middle = y + BAR / 2;
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\n\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"black\"/>\n\
                 <text x=\"{:.1}\" y=\"{}\">{:.2} ms</text>",
                LEFT - 8,
                y + 13,
                bar.name,
                x(bar.middle) - LEFT as f64,
                x(bar.low),
                x(bar.high),
                x(bar.high) + 6.0,
                y + 13,
                bar.middle,
            );
            y += BAR + 4;
        }
        y += 12;
    }
    svg + "</svg>\n"
}
