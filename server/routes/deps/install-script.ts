/** What the routes need of the script that installs the agent. */
export interface InstallScriptService {
  /** The script as it is served now. */
  text(): Promise<string>;
  /** A line for a shell on the machine that is to become a host: fetches the script, verifies it and runs it with the token. */
  command(token: string): Promise<string>;
}
