"""From statements to pictures: Plotly figures, the HTML page, the terminal's summary."""
