"""Documents that are made from the code: what ``--help`` says as data, and the site.

None of the pages that are made is kept in the repository: ``python -m ckptdoctor.documents FOLDER`` builds the site.
"""
