-- What wrk sends: the bodies named in BODIES in turn; each connection pauses for PAUSE seconds on average, if that is set.
local bodies = {}
local pause = tonumber(os.getenv("PAUSE"))

function setup(thread)
  counted = thread -- wrk runs with one
end

function init()
  for name in os.getenv("BODIES"):gmatch("[^\n]+") do
    local file = io.open(name, "rb")
    local headers = { ["Content-Type"] = "multipart/form-data; boundary=x" }
    bodies[#bodies + 1] = wrk.format("POST", nil, headers, file:read("*a"))
    file:close()
  end
  sent, statuses, promised = -1, "", 0 -- wrk asks for one more than it sends
  stop = os.time() + tonumber(os.getenv("SENDING_SECONDS") or 0)
  math.randomseed(1)
end

function request()
  sent = sent + 1
  return bodies[sent % #bodies + 1]
end

if pause then
  -- Each connection pauses at random, whatever the others wait for: all together are nearly a Poisson process.
  function delay()
    if os.time() >= stop then return 1000000 end -- the rest of the time is for the answers to come
    return math.min(-math.log(1 - math.random()) * pause, 2.5) * 1000 -- the server ends what is idle for 5 seconds
  end

  local by_status = {}
  function response(status, headers, body)
    by_status[status] = (by_status[status] or 0) + 1
    if status == 503 and headers["retry-after"] then promised = promised + 1 end
    if status == 200 and not body:find('"Success":true', 1, true) then by_status[0] = (by_status[0] or 0) + 1 end
    local parts = {}
    for key, count in pairs(by_status) do parts[#parts + 1] = string.format('"%d": %d', key, count) end
    statuses = table.concat(parts, ", ")
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"answers": %d, "seconds": %f, "p50": %f, "p99": %f, "failed": %d, "broken": %d, "sent": %d, "promised": %d, "statuses": {%s}}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    counted:get("sent"), counted:get("promised"), counted:get("statuses")))
end
