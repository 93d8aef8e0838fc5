-- One JSON line at the end: counts, latency in microseconds, and, with the argument "versions", those that answers were
-- served with (wrk then parses every header).

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(arguments)
    versions = ""
    seen = {}
    if arguments[1] ~= "versions" then
        response = nil
    end
end

function response(status, headers)
    local version = headers["nexus-config-version"] or headers["Nexus-Config-Version"]
    if version and not seen[version] then
        seen[version] = true
        versions = versions .. version .. ","
    end
end

function done(summary, latency)
    local all = ""
    for _, thread in ipairs(threads) do
        all = all .. thread:get("versions")
    end
    local errors = summary.errors
    io.write(string.format(
        '{"requests": %d, "microseconds": %d, "failures": %d, "p50": %d, "p99": %d, "versions": "%s"}\n',
        summary.requests,
        summary.duration,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50),
        latency:percentile(99),
        all
    ))
end
