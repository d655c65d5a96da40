"""Interactive plots of a page, by Bokeh. Nothing else of mpjax imports it."""
