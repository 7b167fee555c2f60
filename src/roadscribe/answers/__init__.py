"""How the answers of real models are read; `roadscribe.report_text.parse_answer` is the way in."""
