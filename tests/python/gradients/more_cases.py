def more_cases():
    return []
