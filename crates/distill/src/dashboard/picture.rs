//! A frame as SVG, for pages that cannot run a terminal.
use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Size of a cell, pixels.
const CELL: (f64, f64) = (8.0, 17.0);
/// Room around the frame.
const MARGIN: f64 = 10.0;
const GROUND: &str = "#0f1318";
const INK: &str = "#c9d1d9";
const DIM: &str = "#6e7681";

/// Draws what a terminal would show. Lines, blocks and dots of curves are shapes, so that no font can move them.
pub fn picture(buffer: &Buffer) -> String {
    let (columns, rows) = (buffer.area.width, buffer.area.height);
    let width = f64::from(columns) * CELL.0 + 2.0 * MARGIN;
    let height = f64::from(rows) * CELL.1 + 2.0 * MARGIN;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" xmlns=\"http://www.w3.org/2000/svg\" \
         font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"13\">\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{GROUND}\"/>"
    );
    for y in 0..rows {
        let mut x = 0;
        while x < columns {
            let cell = &buffer[(x, y)];
            let mut end = x + 1;
            // Neighbours of one look are one text, or one shape after another.
            while end < columns && look(&buffer[(end, y)]) == look(cell) {
                end += 1;
            }
            let run: String = (x..end).map(|x| buffer[(x, y)].symbol()).collect();
            draw(&mut svg, (x, y), &run, cell);
            x = end;
        }
    }
    svg + "</svg>\n"
}

/// What two cells must share to be drawn together.
fn look(cell: &Cell) -> (Color, Color, Modifier, bool) {
    let character = cell.symbol().chars().next().unwrap_or(' ');
    (
        cell.fg,
        cell.bg,
        cell.modifier,
        shape(character, 0.0, 0.0).is_some(),
    )
}

fn draw(svg: &mut String, (column, row): (u16, u16), run: &str, cell: &Cell) {
    let (x, y) = (
        MARGIN + f64::from(column) * CELL.0,
        MARGIN + f64::from(row) * CELL.1,
    );
    let count = run.chars().count();
    let mut ink = css(cell.fg, INK);
    if cell.modifier.contains(Modifier::DIM) && cell.fg == Color::Reset {
        ink = DIM.into();
    }
    if cell.modifier.contains(Modifier::REVERSED) {
        let width = count as f64 * CELL.0;
        let _ = write!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{}\" fill=\"{ink}\"/>",
            CELL.1
        );
        ink = GROUND.into();
    }
    let mut path = String::new();
    for (index, character) in run.chars().enumerate() {
        if let Some(shape) = shape(character, x + index as f64 * CELL.0, y) {
            path += &shape;
        }
    }
    if !path.is_empty() {
        let _ = write!(svg, "<path fill=\"{ink}\" d=\"{path}\"/>");
    } else if !run.trim().is_empty() {
        let weight = match cell.modifier.contains(Modifier::BOLD) {
            true => " font-weight=\"bold\"",
            false => "",
        };
        let start = run
            .chars()
            .take_while(|character| *character == ' ')
            .count();
        let text = run.trim();
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" fill=\"{ink}\"{weight} textLength=\"{}\" xml:space=\"preserve\">{escaped}</text>",
            x + start as f64 * CELL.0,
            y + 13.0,
            text.chars().count() as f64 * CELL.0
        );
    }
}

/// The path of a character that is a shape; empty for a braille cell without dots.
fn shape(character: char, x: f64, y: f64) -> Option<String> {
    let rect = |dx: f64, dy: f64, w: f64, h: f64| format!("M{} {}h{w}v{h}h-{w}z", x + dx, y + dy);
    let (w, h) = CELL;
    let (cx, cy) = ((w - 1.0) / 2.0, (h - 1.0) / 2.0);
    // Left, right, up, down of a line.
    let lines = |parts: [bool; 4]| {
        let all = [
            rect(0.0, cy, cx + 1.0, 1.0),
            rect(cx, cy, w - cx, 1.0),
            rect(cx, 0.0, 1.0, cy + 1.0),
            rect(cx, cy, 1.0, h - cy),
        ];
        let drawn = all.into_iter().zip(parts).filter(|(_, is_drawn)| *is_drawn);
        drawn.map(|(path, _)| path).collect::<String>()
    };
    Some(match character {
        '\u{2500}' => lines([true, true, false, false]),
        '\u{2502}' => lines([false, false, true, true]),
        '\u{250c}' => lines([false, true, false, true]),
        '\u{2510}' => lines([true, false, false, true]),
        '\u{2514}' => lines([false, true, true, false]),
        '\u{2518}' => lines([true, false, true, false]),
        '\u{2588}' => rect(0.0, 0.0, w, h),
        dots @ '\u{2800}'..='\u{28ff}' => {
            const PLACES: [(f64, f64); 8] = [
                (1.0, 1.0),
                (1.0, 5.0),
                (1.0, 9.0),
                (5.0, 1.0),
                (5.0, 5.0),
                (5.0, 9.0),
                (1.0, 13.0),
                (5.0, 13.0),
            ];
            let bits = dots as u32 - 0x2800;
            let set = (0..8).filter(|bit| bits >> bit & 1 == 1);
            set.map(|bit| rect(PLACES[bit].0, PLACES[bit].1, 2.0, 2.5))
                .collect()
        }
        _ => return None,
    })
}

/// A colour of a terminal as a dark page has it.
fn css(colour: Color, default: &str) -> String {
    match colour {
        Color::Red => "#f85149".into(),
        Color::Green => "#3fb950".into(),
        Color::Yellow => "#d29922".into(),
        Color::Blue => "#5a9be6".into(),
        Color::Magenta => "#bc8cff".into(),
        Color::Cyan => "#39c5cf".into(),
        Color::Gray => "#8b949e".into(),
        // The 6x6x6 cube of the 256 colours.
        Color::Indexed(index @ 16..=231) => {
            let step = |level: u8| match level {
                0 => 0,
                level => 55 + 40 * u32::from(level),
            };
            let cube = index - 16;
            let (r, g, b) = (step(cube / 36), step(cube / 6 % 6), step(cube % 6));
            format!("#{r:02x}{g:02x}{b:02x}")
        }
        _ => default.into(),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn text_is_escaped_and_lines_are_shapes() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 12, 2));
        buffer.set_string(0, 0, "a <b> & c", Style::new().fg(Color::Red));
        buffer.set_string(0, 1, "\u{250c}\u{2500}\u{2801}", Style::new());
        let svg = picture(&buffer);
        assert!(
            svg.contains(
                "fill=\"#f85149\" textLength=\"72\" xml:space=\"preserve\">a &lt;b> &amp; c<"
            ),
            "{svg}"
        );
        // Two halves of a corner, two of a line, a dot; the ground is a rectangle of its own.
        let (_, path) = svg.split_once(" d=\"").unwrap();
        assert_eq!(
            path.split_once('"').unwrap().0.matches('M').count(),
            5,
            "{svg}"
        );
        assert_eq!(css(Color::Indexed(16), ""), "#000000");
        assert_eq!(css(Color::Indexed(231), ""), "#ffffff");
    }
}
