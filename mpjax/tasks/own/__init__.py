"""Own data: labelled files, folders and hub data sets, with columns that the user names."""
