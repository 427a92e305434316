console.log("cli process", process.argv)
