"""One page from run directories, results and benchmarks: collect, group by like protocols, render.

    from metrics.report.build import ReportConfig, build_report
    from metrics.report.page import render_page
    page = render_page(build_report(ReportConfig(paths=(Path("run"), Path("swd.json")))))

Only files are read: nothing is trained, sampled or fetched.
"""
