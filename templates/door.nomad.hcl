# Part of ionetctl. Carries words for a node from its region to the drop on the host, and what became of them back to its log. It is
# nobody there: what nobody has signed counts for nothing. It stays on nodes that are ineligible, drained or away from their servers, but
# never register it changed while some are: they would lose it.
job "ionet-door" {
  namespace   = "ionet-maintenance"
  type        = "system"
  datacenters = ["*"]
  node_pool   = "all"

  group "door" {
    disconnect {
      lost_after = "720h"
      replace    = false
      reconcile  = "keep_original"
    }

    volume "drop" {
      type   = "host"
      source = "ionet-drop"
    }

    volume "answers" {
      type      = "host"
      source    = "ionet-answers"
      read_only = true
    }

    task "door" {
      driver = "exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "sh /local/put.sh; exec tail -n 50 -F /answers/log"]
      }

      volume_mount {
        volume      = "drop"
        destination = "/drop"
      }

      volume_mount {
        volume      = "answers"
        destination = "/answers"
        read_only   = true
      }

      # Whole under its name or not there; it runs as root after a change and as nobody at the start.
      template {
        destination = "local/put.sh"
        change_mode = "noop"
        data        = <<-END
          set -eu
          if [ ! -s /local/word ]; then exit 0; fi
          trap 'rm -f "/drop/.$$"' EXIT
          trap 'exit 1' HUP INT TERM
          rm -f "/drop/.$$"
          cat /local/word >"/drop/.$$"
          mv -f "/drop/.$$" /drop/region.word
        END
      }

      template {
        destination = "local/word"
        change_mode = "script"
        change_script {
          command       = "/bin/sh"
          args          = ["/local/put.sh"]
          timeout       = "20s"
          fail_on_error = false
        }
        wait {
          min = "1s"
          max = "2s"
        }
        data = <<-END
          {{- $path := printf "ionet/maintenance/%s" (env "node.unique.id") -}}
          {{- if nomadVarExists $path -}}{{- with nomadVar $path -}}{{ .word }}{{- end -}}{{- end -}}
        END
      }

      logs {
        max_files     = 2
        max_file_size = 1
      }

      resources {
        cpu    = 20
        memory = 64
      }
    }
  }
}
