import GraftCommands

await Tool.main()
