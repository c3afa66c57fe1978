"""Dead letters and set-aside items: list, show, retry and drop them (`merganser dead`).

`service` has the operations. They work on letters (`letters`, in the topic that `topic` reads, with
what operators did about them in `resolutions`) and on items in a table (`set_aside_items`).
"""
