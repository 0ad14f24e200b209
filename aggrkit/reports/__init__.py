"""Reports: a notebook that is run with parameters, and a page of it that can be sent to anybody.

`report` makes one, `templates` says which there are. `begin` is what the notebooks themselves start with.
"""

from aggrkit.reports.beginning import begin
from aggrkit.reports.making import Report, report
from aggrkit.reports.sheet import Sheet
from aggrkit.reports.templates import Parameter, Template, templates

__all__ = ["Parameter", "Report", "Sheet", "Template", "begin", "report", "templates"]
