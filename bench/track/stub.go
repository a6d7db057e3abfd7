package main

import "context"

const benchFolder = "."

func recordCommand(ctx context.Context, root string, args []string) error { return nil }
func reportCommand(ctx context.Context, root string, args []string) error { return nil }
