"""The methods: what each of them is made of, its options and its recipe."""
