-- A script for wrk. Sends GET requests for one path, each with the next header
-- line of a file, from the first again after the last:
--
--   wrk -t1 … -s load.lua URL -- FILE REQUESTS
--
-- Ends after so many requests, or when wrk's own time is up. Prints one line:
-- requests answered, failed, and the median and 99th percentile of their
-- latency in microseconds.

local ffi = require "ffi"
ffi.cdef "int kill(int pid, int signal); int getpid(void);"

local requests, wanted, sent = {}, 0, 0

function init(args)
    for line in io.lines(args[1]) do
        requests[#requests + 1] = "GET " .. wrk.path .. " HTTP/1.1\r\nHost: bench\r\n" .. line .. "\r\n\r\n"
    end
    wanted = tonumber(args[2])
end

function request()
    if sent == wanted then
        wrk.thread:stop()
        -- wrk sleeps for as long as it was told; SIGINT wakes it.
        ffi.C.kill(ffi.C.getpid(), 2)
    end
    sent = sent + 1
    return requests[(sent - 1) % #requests + 1]
end

function done(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    print("result", summary.requests, failed, latency:percentile(50), latency:percentile(99))
end
