# One line for each host, separated by tabs: host, result, version of eic-keys, summary. Hosts that need attention come first.
#
#   jq -rn -f table.jq FILE...
#
# FILE is one of:
# - a document of `aws ssm list-command-invocations --details`, also of several pages;
# - a document of `aws ssm get-command-invocation`;
# - an output of `eic-keys --check --json`, such as AWS Systems Manager writes to S3: the host is the instance id in the path of the file, or
#   the name of the file without .json.
#
# result is that of the report: ok, failed or not-run. It is "none" if there is no report; then the summary says what is known instead.

# The report in an output. If the output was cut off, the members before the checks.
def report:
  def first($member): capture("\n  \"" + $member + "\": (?<value>\".*\"),\n").value | fromjson;
  . as $output
  # After the document there can be what the shell or the agent has added.
  | (try ($output | split("\n}\n")[0] | rtrimstr("\n}") + "\n}" | fromjson) catch null)
    // (try { result: ($output | first("result")), version: ($output | first("version")), summary: ($output | first("summary")) } catch null)
    // null;

# $otherwise: what to say without a report.
def row($host; $otherwise):
  report as $report
  | if $report | has("summary")? // false
    then { host: $host, result: $report.result, version: $report.version, summary: $report.summary }
    else { host: $host, result: "none", version: "-", summary: $otherwise }
    end;

def host_of_file:
  input_filename | capture("(?<host>m?i-[0-9a-f]{8,17})/").host? // (split("/") | last | rtrimstr(".json"));

def rows:
  if has("CommandInvocations") then
    .CommandInvocations[] | .InstanceId as $host | .StatusDetails as $status
    | [.CommandPlugins[]?.Output // ""] | join("") | row($host; "no report: " + $status)
  elif has("StandardOutputContent") then
    .InstanceId as $host | .StatusDetails as $status
    | .StandardOutputContent | row($host; "no report: " + $status)
  elif has("summary") then
    { host: host_of_file, result, version, summary }
  else
    { host: host_of_file, result: "none", version: "-", summary: "no report" }
  end;

[inputs | rows]
| sort_by({ none: 0, "not-run": 1, failed: 2, ok: 3 }[.result], .host)[]
| [.host, .result, .version, .summary]
| @tsv
